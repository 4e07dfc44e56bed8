//! What a connection has received, until it is decoded.

use bytes::BytesMut;

use super::Connection;
use crate::error::CloseReason;
use crate::pipeline::Turn;

impl Connection {
    /// Bytes have arrived; what is not decoded stays here.
    pub(crate) fn ingest(&mut self, turn: &mut Turn, arrived: &mut BytesMut) {
        self.state.note_read(turn, arrived.len());
        if self.filters.is_some() {
            return self.ingest_filtered(turn, arrived);
        }
        self.ingest_plain(turn, arrived);
    }

    pub(super) fn ingest_plain(&mut self, turn: &mut Turn, arrived: &mut BytesMut) {
        if !self.input.is_empty() {
            self.input.extend_from_slice(arrived);
            arrived.clear();
            return self.decode(turn);
        }
        let before = arrived.len();
        self.run(turn, |link, state, turn| {
            link.ingest(state, turn, arrived, false)
        });
        self.note_frame(turn, arrived.len(), before);
        if !arrived.is_empty() && self.state.accepts_output() && !self.state.garbled {
            // Copied, so that the worker's buffer is not pinned while the rest is on its way.
            self.input = turn.spare.take_input();
            self.input.extend_from_slice(arrived);
        }
        self.progress(turn);
    }

    /// Decodes what has arrived before, after a pause or with more bytes behind it.
    pub(crate) fn decode(&mut self, turn: &mut Turn) {
        self.decode_input(turn);
        self.progress(turn);
    }

    pub(super) fn decode_input(&mut self, turn: &mut Turn) {
        if !self.state.opened {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        let (eof, before) = (self.eof, input.len());
        self.run(turn, |link, state, turn| {
            link.ingest(state, turn, &mut input, eof)
        });
        self.note_frame(turn, input.len(), before);
        if !input.is_empty() && !self.state.garbled {
            self.input = input;
        } else if input.capacity() > 0 {
            turn.spare.give_input(input);
        }
    }

    /// Notes whether what is left of what arrived is the beginning of a frame, and since when it is there.
    #[inline]
    fn note_frame(&mut self, turn: &Turn, left: usize, before: usize) {
        if left == 0 || !self.state.decoded {
            self.state.pulse.note_whole();
        } else {
            self.state.pulse.note_mid_frame(turn.stamp, left < before);
            self.watch_frame(turn);
        }
    }

    /// The peer has sent its FIN: nothing more will arrive.
    pub(crate) fn ingest_eof(&mut self, turn: &mut Turn) {
        if self.filters.is_some() && !self.filters_allow_eof(0) {
            return self.decode(turn);
        }
        self.end_input(turn);
    }

    pub(super) fn end_input(&mut self, turn: &mut Turn) {
        self.eof = true;
        if self.state.options.half_open {
            self.owes_read_closed = true;
            return self.decode(turn);
        }
        self.end(turn, CloseReason::PeerClosed);
    }
}
