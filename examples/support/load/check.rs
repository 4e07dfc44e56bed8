//! Raw bytes, or frames, that are checked where they lie: no message is made of them, so nothing is
//! allocated for what comes back.

use bytes::{Buf, Bytes, BytesMut};
use netwheel::codec::{Codec, Framing, LengthField, Scan};
use netwheel::{Output, Result};

use super::pattern::Cursor;

/// What one read, or one frame, has brought: so many bytes that are right, or what is wrong with them.
pub(super) type Checked = Result<usize, String>;

/// The codec of a load: sends bytes as they are given to it, and checks those that come back.
pub(super) struct Check {
    received: Cursor,
    frames: Option<LengthField>,
}

impl Check {
    pub(super) fn new(received: Cursor, framed: bool) -> Self {
        let frames = framed.then(LengthField::u32);
        Self { received, frames }
    }
}

impl Codec for Check {
    type In = Checked;
    type Out = Bytes;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Checked>> {
        let (body, len) = match &mut self.frames {
            None if input.is_empty() => return Ok(None),
            None => (0..input.len(), input.len()),
            Some(frames) => match frames.scan(input)? {
                Scan::Frame { body, len } => (body, len),
                _ => return Ok(None),
            },
        };
        let bytes = body.len();
        let checked = self.received.check(&input[body]).map(|()| bytes);
        input.advance(len);
        Ok(Some(checked))
    }

    fn encode(&mut self, out: Bytes, dst: &mut Output) -> Result<()> {
        match &mut self.frames {
            None => dst.push(out),
            Some(frames) => frames.wrap(out, dst)?,
        }
        Ok(())
    }

    fn weigh(out: &Bytes) -> usize {
        out.len()
    }
}
