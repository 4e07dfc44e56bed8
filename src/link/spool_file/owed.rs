//! What one link owes, as its spool.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;

use super::SpoolFile;
use super::disk::{Stored, damaged};
use super::queue::{Seat, Tenancy};
use crate::buffer::Output;
use crate::codec::Codec;
use crate::error::{Error, ErrorKind};
use crate::link::position::fresh_epoch;
use crate::link::spool::{Kept, Progress, Spool, Spooled};

/// What one link owes, in a [`SpoolFile`].
#[derive(Debug)]
pub struct FileSpool<C> {
    file: SpoolFile,
    name: String,
    codec: C,
    /// What was read at the start; `None` where it has to be read again.
    stored: Option<Stored>,
    seat: Option<Arc<Seat>>,
    /// Bytes of each message that the file keeps.
    sizes: BTreeMap<u64, usize>,
}

impl<C> FileSpool<C> {
    pub(super) fn new(file: SpoolFile, name: &str, codec: C, stored: Option<Stored>) -> Self {
        Self {
            file,
            name: name.to_owned(),
            codec,
            stored,
            seat: None,
            sizes: BTreeMap::new(),
        }
    }

    fn seat(&self) -> Result<&Arc<Seat>, Error> {
        let unread = || Error::new(ErrorKind::Misuse, "a spool is loaded before it is used");
        self.seat.as_ref().ok_or_else(unread)
    }
}

impl<C, F> Spool<F> for FileSpool<C>
where
    C: Codec<In = F, Out = F> + Send + 'static,
    F: Clone + Send + 'static,
{
    fn load(&mut self) -> Result<Spooled<F>, Error> {
        let queue = &self.file.0.queue;
        let stored = match self.stored.take() {
            Some(stored) => stored,
            None => queue.reload(&self.name)?,
        };
        let epoch = match stored.epoch {
            0 => fresh_epoch(0).max(1),
            epoch => epoch,
        };
        let mut messages = Vec::with_capacity(stored.messages.len());
        for (seq, bytes) in stored.messages {
            self.sizes.insert(seq, bytes.len());
            let frame = decode(&mut self.codec, &bytes).map_err(|why| {
                damaged(
                    &queue.path,
                    format!("message {seq} of {:?}: {why}", self.name),
                )
            })?;
            messages.push((seq, frame));
        }
        self.seat = Some(Arc::new(Seat {
            name: self.name.clone(),
            epoch,
            progress: OnceLock::new(),
        }));
        Ok(Spooled {
            epoch,
            next: stored.next.max(1),
            messages,
        })
    }

    fn watch(&mut self, progress: Progress) {
        if let Some(seat) = &self.seat {
            seat.progress.get_or_init(|| progress);
        }
    }

    fn append(&mut self, seq: u64, message: &F) -> Result<Kept, Error> {
        let bytes = encode(&mut self.codec, message.clone())?;
        let size = bytes.len();
        self.file.0.queue.append(self.seat()?, seq, bytes)?;
        self.sizes.insert(seq, size);
        Ok(Kept::Writing)
    }

    fn forget(&mut self, seq: u64) -> Result<(), Error> {
        let Some(size) = self.sizes.remove(&seq) else {
            return Ok(());
        };
        self.file.0.queue.forget(self.seat()?, seq, size)
    }
}

/// The name is free for the next.
impl<C> Drop for FileSpool<C> {
    fn drop(&mut self) {
        let left = match self.stored.take() {
            Some(stored) => Tenancy::Fresh(stored),
            None => Tenancy::Left,
        };
        let mut state = self.file.0.queue.lock();
        state.links.insert(std::mem::take(&mut self.name), left);
    }
}

fn encode<C: Codec>(codec: &mut C, message: C::Out) -> Result<Vec<u8>, Error> {
    let mut output = Output::new();
    codec.encode(message, &mut output).map_err(|failure| {
        Error::new(
            ErrorKind::Config,
            format!("a message that its codec refuses: {failure}"),
        )
    })?;
    let mut bytes = Vec::with_capacity(output.len());
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = output.gather(&mut slices);
        let before = bytes.len();
        slices[..filled]
            .iter()
            .for_each(|slice| bytes.extend_from_slice(slice));
        let taken = bytes.len() - before;
        output.consume(taken);
    }
    Ok(bytes)
}

fn decode<C: Codec>(codec: &mut C, bytes: &[u8]) -> Result<C::In, String> {
    let mut input = BytesMut::from(bytes);
    match codec.decode(&mut input) {
        Ok(Some(message)) if input.is_empty() => Ok(message),
        Ok(_) => Err("it is not one whole frame".to_owned()),
        Err(failure) => Err(failure.to_string()),
    }
}
