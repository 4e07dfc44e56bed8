//! A codec in two halves: where a message ends, and what it means.

use std::fmt;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::Codec;
use crate::buffer::Output;
use crate::error::{Failure, Result};

/// What a framing found at the front of the bytes that have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scan {
    /// A whole frame of `len` bytes, whose message stands at `body`.
    Frame {
        /// Where the message lies, inside the frame.
        body: Range<usize>,
        /// Bytes of the whole frame, from the front of the input.
        len: usize,
    },
    /// More bytes are needed: at least so many in all. A hint; memory never grows on its word.
    More(usize),
    /// Bytes of a bad frame to be passed over before the scan goes on.
    Skip(usize),
}
