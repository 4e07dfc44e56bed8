//! Files on their way out of one connection, and what was written behind them.
//!
//! ```text
//!   output: [ written before the file | of the file, copied ] <── refill ── file ── behind ── file ── behind
//!                                                                                  ^ written since
//! ```
//! The output stays what it is, bytes in memory. A file stands behind it and goes straight from the file to the
//! socket once the output is empty, or is copied into it a little at a time; once it is through, what was written
//! behind it becomes the output.

use std::collections::VecDeque;

use crate::buffer::Output;
use crate::error::{CloseReason, Failure, Result};
use crate::file_region::FileRegion;

/// A file is copied while fewer bytes than this are queued, in pieces of as many: with the usual water marks it
/// never makes a connection unwritable.
const COPIED_BYTES: usize = 32 * 1024;
const COPIED_BYTES_MIN: usize = 1024;

/// Files on their way out, oldest first; none of them is through.
#[derive(Debug, Default)]
pub(crate) struct Parcels(VecDeque<Parcel>);

#[derive(Debug)]
struct Parcel {
    region: FileRegion,
    behind: Output,
}

impl Parcels {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, region: FileRegion) {
        region.announce();
        self.0.push_back(Parcel {
            region,
            behind: Output::new(),
        });
    }

    /// Where what is written now belongs.
    pub(crate) fn sink(&mut self) -> Option<&mut Output> {
        self.0.back_mut().map(|parcel| &mut parcel.behind)
    }

    /// Bytes in memory that wait behind files.
    pub(crate) fn behind_bytes(&self) -> usize {
        self.0.iter().map(|parcel| parcel.behind.len()).sum()
    }

    /// Bytes that will leave behind the output: files, and what waits behind them.
    pub(crate) fn stream_bytes(&self) -> u64 {
        let files = self.0.iter().map(|parcel| parcel.region.left());
        files.sum::<u64>() + self.behind_bytes() as u64
    }

    /// The file whose turn it is.
    pub(crate) fn first(&self) -> Option<&FileRegion> {
        self.0.front().map(|parcel| &parcel.region)
    }

    /// So many bytes of the first file have gone straight to the socket.
    pub(crate) fn advance(&mut self, count: usize, output: &mut Output) {
        output.note_flushed(count);
        if let Some(first) = self.0.front_mut() {
            first.region.advance(count);
        }
        self.finish_first(output);
    }

    /// Copies of the first file into the output while that is below its low water mark.
    pub(crate) fn copy(&mut self, output: &mut Output, low_water: usize) -> Result<()> {
        let piece = low_water.clamp(COPIED_BYTES_MIN, COPIED_BYTES);
        while let Some(first) = self.0.front_mut()
            && output.len() < piece
        {
            let read = first.region.read(piece, output.tail());
            let count = read.map_err(|error| Failure::with(CloseReason::IoError, error))?;
            first.region.advance(count);
            self.finish_first(output);
        }
        Ok(())
    }

    /// Lets what was written behind a file follow it, once it is through.
    fn finish_first(&mut self, output: &mut Output) {
        while let Some(first) = self.0.front()
            && first.region.left() == 0
            && let Some(mut done) = self.0.pop_front()
        {
            output.append(&mut done.behind);
        }
    }
}
