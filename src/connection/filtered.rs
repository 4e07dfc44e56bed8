//! A connection with filters between its socket and its codec.
//!
//! ```text
//!   wire bytes ──> layer 0 ──> layer 1 ──> plain bytes ──> codec
//!        ^           │ back      │ back
//!   output: [ sealed: wire bytes | unsealed: what callbacks wrote since ]
//!                  ^────────── seal: layer 1, layer 0 ──────┘
//! ```
//! Callbacks write into the connection's one output, as they do without filters; before it is written to
//! the socket, what they wrote since is taken out, sent through the layers and appended again. So water
//! marks, bounds and deadlines count all that waits, and a completion waits for the wire bytes.
//!
//! Invariants: what is sealed stands before what is not; nothing unsealed leaves; what the layers produce
//! leaves in the order in which they produced it. A layer is opened once all before it are ready, and the
//! pipeline once all are.

use std::mem::take;

use bytes::BytesMut;
use log::{debug, error};

use super::Connection;
use crate::buffer::{Output, Queued};
use crate::error::{CloseReason, Failure, Result};
use crate::panics::contain;
use crate::pipeline::{Closing, Due, Filter, Inbound, OWNER_LIBRARY, Parcels, State, Turn};
use crate::whereabouts::Label;

/// The filters of one connection, the one next to the socket first.
#[derive(Default)]
pub(super) struct Filters {
    layers: Vec<Layer>,
    /// So many are ready, the first; the one behind them, if there is one, has been opened.
    ready: usize,
    /// Where in the stream the sealed bytes end.
    sealed_end: u64,
    /// The layer to which the peer has said that nothing more will come.
    closed: Option<usize>,
    /// Leave has been taken, or there is nobody to take leave of.
    left: bool,
    /// A layer has failed: what is not sealed is lost.
    broken: bool,
}

struct Layer {
    filter: Box<dyn Filter>,
    /// What the filter has left until more comes.
    held: BytesMut,
}

impl Filters {
    pub(super) fn new(filters: Vec<Box<dyn Filter>>) -> Option<Box<Self>> {
        if filters.is_empty() {
            return None;
        }
        let mut new = Self::default();
        new.add(filters);
        Some(Box::new(new))
    }

    fn add(&mut self, filters: Vec<Box<dyn Filter>>) {
        self.layers.extend(filters.into_iter().map(|filter| Layer {
            filter,
            held: BytesMut::new(),
        }));
    }

    fn all_ready(&self) -> bool {
        self.ready == self.layers.len()
    }

    pub(super) fn assert_sealed(&self, output: &Output) {
        assert!(
            output.is_empty() || output.flushed() + output.len() as u64 == self.sealed_end,
            "what is written has passed the filters"
        );
    }

    /// Opens the next layer, and those behind it as far as they are ready at once.
    fn open_next(&mut self, state: &mut State, turn: &mut Turn) -> Result<()> {
        while let Some(layer) = self.layers.get_mut(self.ready) {
            if let Some(time) = layer.filter.timeout() {
                let at = turn.clock.now() + time;
                state.timers.arm(at, OWNER_LIBRARY, HANDSHAKE);
            }
            let mut greeting = Output::new();
            layer.filter.open(&mut greeting)?;
            self.seal(state, turn, self.ready, &mut greeting)?;
            if !self.note_ready(state) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Counts the layer that is being opened among those that are ready, if it is.
    fn note_ready(&mut self, state: &mut State) -> bool {
        let layer = &mut self.layers[self.ready];
        if !layer.filter.is_ready() {
            return false;
        }
        self.ready += 1;
        if layer.filter.timeout().is_some() {
            state.timers.cancel(OWNER_LIBRARY, HANDSHAKE);
        }
        layer.filter.ready(&mut state.rare().attributes);
        true
    }

    /// Passes bytes through the layers from `first` on; answers what is meant for the codec.
    fn pass_inward(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        first: usize,
        arrived: &mut BytesMut,
    ) -> Result<BytesMut> {
        let mut bytes = take(arrived);
        for index in first..self.layers.len() {
            // A layer that is not ready lets nothing pass, so those behind it have nothing to take.
            if index > self.ready {
                break;
            }
            bytes = self.pass_layer(state, turn, index, bytes)?;
        }
        Ok(bytes)
    }

    fn pass_layer(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        index: usize,
        arrived: BytesMut,
    ) -> Result<BytesMut> {
        let mut back = Output::new();
        let (passed, outcome) = self.layers[index].inbound(turn, arrived, &mut back);
        if outcome.is_err() {
            self.lose_unsealed(state);
        }
        if !back.is_empty() {
            self.seal(state, turn, index, &mut back)?;
        }
        if outcome? == Inbound::Closed && self.closed.is_none() {
            self.closed = Some(index);
        }
        if index == self.ready && self.note_ready(state) {
            self.open_next(state, turn)?;
        }
        Ok(passed)
    }

    /// Seals what callbacks have written, behind `back`, which layer `from` has for the peer.
    fn seal(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        from: usize,
        back: &mut Output,
    ) -> Result<()> {
        let mut plain = self.take_unsealed(&mut state.output);
        let taken = plain.len();
        if back.is_empty() && plain.is_empty() {
            return Ok(());
        }
        if state.output.wants_buffer() {
            state.output.lend_buffer(turn.spare.take());
        }
        pass_outward(&mut self.layers[..from], back, &mut state.output)?;
        debug_assert!(plain.is_empty() || self.all_ready());
        if self.all_ready() && !self.broken {
            pass_outward(&mut self.layers, &mut plain, &mut state.output)?;
        }
        if let Some(buffer) = plain.return_buffer() {
            turn.spare.give(buffer);
        }
        self.note_sealed(state, taken);
        Ok(())
    }

    /// What callbacks have written and no layer has seen.
    fn take_unsealed(&self, output: &mut Output) -> Output {
        let sealed = self.sealed_end.saturating_sub(output.flushed());
        if sealed >= output.len() as u64 {
            return Output::new();
        }
        output.split_off(usize::try_from(sealed).expect("less than what is queued"))
    }

    /// Everything in the output is wire bytes now, made of so many plain ones: completions of those wait for the
    /// last of them, later ones stand behind it.
    fn note_sealed(&mut self, state: &mut State, taken: usize) {
        let before = self.sealed_end;
        let plain_end = before + taken as u64;
        self.sealed_end = state.output.flushed() + state.output.len() as u64;
        if let Some(rare) = state.rare_mut() {
            let sealed = rare.completions.iter_mut().rev();
            for (end, _) in sealed.take_while(|(end, _)| *end > before) {
                *end = match end.checked_sub(plain_end) {
                    _ if self.broken => u64::MAX,
                    Some(behind) => self.sealed_end + behind,
                    None => self.sealed_end,
                };
            }
        }
    }

    /// Forgets what callbacks have written and no layer will seal any more.
    fn lose_unsealed(&mut self, state: &mut State) {
        self.broken = true;
        let lost = self.take_unsealed(&mut state.output);
        if let Some(rare) = state.rare_mut() {
            rare.parcels = Parcels::default();
        }
        self.note_sealed(state, lost.len());
    }

    /// Seals what is left, and lets each layer take its leave, last to first.
    fn take_leave(&mut self, state: &mut State, turn: &mut Turn) -> Result<()> {
        self.left = true;
        self.seal(state, turn, 0, &mut Output::new())?;
        for index in (0..self.ready).rev() {
            let mut farewell = Output::new();
            self.layers[index].filter.close(&mut farewell);
            self.seal(state, turn, index, &mut farewell)?;
        }
        Ok(())
    }
}

impl Layer {
    fn inbound(
        &mut self,
        turn: &mut Turn,
        arrived: BytesMut,
        back: &mut Output,
    ) -> (BytesMut, Result<Inbound>) {
        let mut wire = self.join(arrived);
        let mut plain = turn.spare.take_plain(wire.len());
        let outcome = self.filter.inbound(&mut wire, &mut plain, back);
        if !wire.is_empty() {
            // Copied, so that the worker's buffer is not pinned.
            self.held.extend_from_slice(&wire);
        }
        let passed = plain.split();
        turn.spare.give_plain(plain);
        (passed, outcome)
    }

    /// What it has left, with more behind it.
    fn join(&mut self, arrived: BytesMut) -> BytesMut {
        if self.held.is_empty() {
            return arrived;
        }
        self.held.extend_from_slice(&arrived);
        take(&mut self.held)
    }
}

/// The deadline of the layer that is being opened.
const HANDSHAKE: Due = Due::Close(CloseReason::HandshakeTimeout);

/// Passes `bytes` through `layers`, last to first, and appends what comes out to `wire`.
fn pass_outward(layers: &mut [Layer], bytes: &mut Output, wire: &mut Output) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    match layers.split_last_mut() {
        None => wire.append(bytes),
        Some((only, [])) => only.filter.outbound(&mut Queued(bytes), wire)?,
        Some((last, outer)) => {
            let mut sealed = Output::new();
            last.filter.outbound(&mut Queued(bytes), &mut sealed)?;
            pass_outward(outer, &mut sealed, wire)?;
        }
    }
    Ok(())
}

impl Connection {
    /// Lets the filters seal what callbacks have written; to be called before [`output`](Connection::output)
    /// is written.
    #[inline]
    pub(crate) fn seal(&mut self, turn: &mut Turn) {
        if self.filters.is_some() && self.has_output() {
            self.with_filters(turn, |filters, state, turn| {
                filters.seal(state, turn, 0, &mut Output::new())
            });
        }
    }

    pub(super) fn open_filters(&mut self, turn: &mut Turn) {
        self.with_filters(turn, Filters::open_next);
        self.open_when_ready(turn);
        self.progress(turn);
    }

    /// Opens the pipeline once the last filter is ready.
    fn open_when_ready(&mut self, turn: &mut Turn) {
        let ready = self.filters.as_ref().is_some_and(|f| f.all_ready());
        if ready && !self.state.opened && self.state.accepts_output() {
            self.open_link(turn);
        }
    }

    /// An upgrade has brought more filters: what was written before is not theirs, what was not decoded is.
    pub(super) fn add_filters(&mut self, turn: &mut Turn, filters: Vec<Box<dyn Filter>>) {
        if self
            .state
            .rare_ref()
            .is_some_and(|rare| !rare.parcels.is_empty())
        {
            let text = "an upgrade to TLS while a file is being sent: the file would go in the clear behind it";
            return self.state.fail(Failure::msg(text));
        }
        self.seal(turn);
        let own = self.filters.get_or_insert_default();
        let first = own.layers.len();
        own.add(filters);
        own.sealed_end = self.state.output.flushed() + self.state.output.len() as u64;
        (self.state.opened, self.state.decoded) = (false, true);
        let mut wire = take(&mut self.input);
        self.with_filters(turn, Filters::open_next);
        self.pass_filters(turn, first, &mut wire);
    }

    pub(super) fn ingest_filtered(&mut self, turn: &mut Turn, arrived: &mut BytesMut) {
        self.pass_filters(turn, 0, arrived);
        self.progress(turn);
    }

    fn pass_filters(&mut self, turn: &mut Turn, first: usize, wire: &mut BytesMut) {
        let plain = self.with_filters(turn, |filters, state, turn| {
            filters.pass_inward(state, turn, first, wire)
        });
        self.open_when_ready(turn);
        if let Some(mut plain) = plain
            && self.state.opened
            && !plain.is_empty()
        {
            self.ingest_plain(turn, &mut plain);
        }
        let closed = self.filters.as_ref().and_then(|filters| filters.closed);
        if let (Some(layer), false) = (closed, self.eof)
            && self.filters_allow_eof(layer + 1)
        {
            self.end_input(turn);
        }
    }

    /// Whether an end of what comes to the layers from `first` on is a proper one; `false` when the
    /// connection is ending for it.
    pub(super) fn filters_allow_eof(&mut self, first: usize) -> bool {
        self.eof = true;
        let Some(filters) = &mut self.filters else {
            return true;
        };
        if !self.state.opened {
            debug!(target: "netwheel::connection", "{} {}: closed by the peer before it was ready",
                self.state.id, self.state.peer().address);
            self.state.close(Closing::Now(CloseReason::PeerClosed));
            return false;
        }
        let mut layers = filters.layers[first..].iter_mut();
        let outcome = contain(|| layers.try_for_each(|layer| layer.filter.eof()));
        let failure = match outcome {
            Ok(Ok(())) => return true,
            Ok(Err(failure)) => failure.blame(CloseReason::ProtocolError),
            Err(_) => Failure::with(CloseReason::Panic, "a filter panicked"),
        };
        self.state.fail_input(failure);
        false
    }

    /// Says goodbye to the peer behind the last that is written.
    pub(super) fn take_leave(&mut self, turn: &mut Turn) {
        let Closing::AfterFlush(_) = self.state.closing else {
            return;
        };
        let holds_back = !self.state.failed && self.holds_back();
        if !holds_back && self.filters.as_ref().is_some_and(|filters| !filters.left) {
            self.with_filters(turn, Filters::take_leave);
        }
    }

    /// Calls the filters; a failure or a panic there ends the connection, and they are not called again.
    fn with_filters<R>(
        &mut self,
        turn: &mut Turn,
        call: impl FnOnce(&mut Filters, &mut State, &mut Turn) -> Result<R>,
    ) -> Option<R> {
        let (filters, state) = (self.filters.as_mut()?, &mut self.state);
        if filters.broken {
            filters.lose_unsealed(state);
            return None;
        }
        state.enter(&turn.stats, Label::FILTER);
        let outcome = contain(|| call(filters, state, turn));
        turn.stats.whereabouts.leave();
        match outcome {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(failure)) => state.fail(failure.blame(CloseReason::ProtocolError)),
            Err(_) => {
                error!(target: "netwheel::connection", "{} {}: a filter panicked",
                    state.id, state.peer().address);
                turn.stats.panics.add(1);
                state.close(Closing::Now(CloseReason::Panic));
            }
        }
        filters.left = true;
        filters.lose_unsealed(state);
        None
    }
}
