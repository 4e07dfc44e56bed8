//! One message that waits in an outbox, and all that goes with it.

use crate::completion::Completion;
use crate::error::TrySendError;
use crate::file_region::FileRegion;

/// Where in the chain a message enters on its way out: behind the last stage.
pub(crate) const FROM_HANDLE: u32 = u32::MAX;

/// What a file counts for while it waits to be begun: so few wait as would take up a connection's output.
pub(super) const FILE_WEIGHT: usize = 64 * 1024;

pub(crate) struct Entry<Out> {
    pub(crate) out: Out,
    pub(crate) done: Option<Completion>,
    /// Follows it as it is.
    pub(crate) file: Option<Box<FileRegion>>,
    /// The stage that wrote it, or [`FROM_HANDLE`].
    pub(crate) from: u32,
    /// What it counts for until it is encoded; kept, so that it is counted out as it was counted in.
    pub(crate) weight: u32,
    #[cfg(netwheel_planted)]
    pub(crate) twice: bool,
    /// The newest broadcast from before it was accepted; it is encoded behind that.
    pub(super) behind: usize,
}

impl<Out> Entry<Out> {
    pub(crate) const fn new(out: Out, done: Option<Completion>, from: u32) -> Self {
        Self {
            out,
            done,
            file: None,
            from,
            weight: 0,
            #[cfg(netwheel_planted)]
            twice: false,
            behind: 0,
        }
    }

    /// Whether it comes behind a broadcast that is newer than this one.
    pub(crate) const fn is_ahead_of(&self, broadcast: usize) -> bool {
        self.behind > broadcast
    }
}

/// Gives a message back; whoever waits for its completion hears of it from the refusal itself.
pub(crate) fn refuse<Out>(
    refused: TrySendError<Out>,
    done: Option<Completion>,
) -> TrySendError<Out> {
    if let Some(done) = done {
        done.forget();
    }
    refused
}
