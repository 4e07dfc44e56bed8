//! A whole connection: the bytes are a list of what happens to it.
//!
//! What it promises is held against a model at each step: one opening, one close and nothing after it;
//! echoes in the order of what was sent, handles' messages in theirs; each accepted message answered once.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::testing::Harness;
use netwheel::{
    CloseReason, Context, Event, Failure, Flow, Handler, Pipeline, Result, Stage, TimerKey,
};

/// What the handler is told to do beside its echo, by the first byte of a frame.
const COMMANDS: u8 = 8;
/// Begins a message of a handle, which no bytes of the peer's do.
const FROM_HANDLE: &[u8] = b"handle";

/// What the handler saw.
#[derive(Default)]
struct Seen {
    opened: u32,
    closed: Option<CloseReason>,
    /// Frames that were answered with their echo.
    echoed: Vec<Bytes>,
}

struct Echo(Rc<RefCell<Seen>>);

impl Echo {
    fn alive(&self) {
        let seen = self.0.borrow();
        assert!(
            seen.opened == 1 && seen.closed.is_none(),
            "between open and close"
        );
    }
}

impl Handler<Bytes, Bytes> for Echo {
    fn on_open(&mut self, _: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        self.0.borrow_mut().opened += 1;
        self.alive();
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, frame: Bytes) -> Result<()> {
        self.alive();
        cx.write(frame.clone())?;
        self.0.borrow_mut().echoed.push(frame.clone());
        match frame.first().map(|first| first % COMMANDS) {
            Some(1) => cx.timer(Duration::from_millis(30), TimerKey(1)),
            Some(2) => cx.cancel_timer(TimerKey(1)),
            Some(3) => cx.close_after_flush(CloseReason::Local),
            Some(4) => cx.close(CloseReason::Local),
            Some(5) => return Err(Failure::with(CloseReason::ProtocolError, "as it was told")),
            Some(6) => drop(
                cx.pipeline()
                    .remove("passing")
                    .add_first("passing", Passing),
            ),
            Some(7) => drop(cx.pipeline().remove("passing")),
            _ => {}
        }
        Ok(())
    }

    fn on_event(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: &Event) -> Result<()> {
        self.alive();
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context<'_, Bytes, Bytes>, reason: CloseReason) {
        self.alive();
        self.0.borrow_mut().closed = Some(reason);
    }
}

/// Lets everything pass.
struct Passing;

impl Stage<Bytes, Bytes> for Passing {
    fn on_inbound(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: &mut Bytes) -> Result<Flow> {
        Ok(Flow::Next)
    }
}

/// Messages of handles: what was accepted, and what was answered.
#[derive(Default)]
struct Sent {
    accepted: u32,
    answers: Arc<Mutex<Vec<(u32, bool)>>>,
}

/// Settings: 1 to answer a FIN by hand, 2 not to pause by itself. Then two bytes an action: what, and how much.
pub fn connection(data: &[u8]) {
    let Some((settings, actions)) = data.split_first() else {
        return;
    };
    let mut limits = ConnectionLimits::default();
    (limits.high_water_bytes, limits.low_water_bytes) = (256, 128);
    limits.output_bytes_max = 4096;
    limits.write_stall_timeout = Duration::from_secs(1);
    let seen = Rc::default();
    let mut harness = Harness::builder()
        .limits(limits)
        .half_open(settings & 1 != 0)
        .auto_pause(settings & 2 == 0)
        .open(
            Pipeline::new(LengthField::u16().frame_bytes_max(300)).handler(Echo(Rc::clone(&seen))),
        );
    let (handle, mut sent, mut output) = (harness.handle(), Sent::default(), Vec::new());
    let (mut number, mut rest, mut fin) = (0_u8, Vec::new(), false);
    for action in actions.chunks_exact(2).take(2_000) {
        let (what, much) = (action[0], action[1]);
        let open = harness.closed().is_none();
        match what % 14 {
            // A frame, whole or in part; the rest comes with the next.
            0..4 if open && !fin => {
                let body = [&[much % 64, number][..], &vec![what; usize::from(much)]].concat();
                rest.extend_from_slice(&(body.len() as u16).to_be_bytes());
                rest.extend_from_slice(&body);
                number = number.wrapping_add(1);
                let cut = if what % 14 < 2 {
                    rest.len()
                } else {
                    rest.len() * usize::from(what) / 256
                };
                let bytes: Vec<u8> = rest.drain(..cut).collect();
                harness.receive(&bytes);
            }
            // No frame.
            4 if open && !fin && much == 0 => drop(harness.receive(&[0xFF; 9])),
            5 => drop(harness.block()),
            6 => drop(harness.accept_bytes(usize::from(much) * 4)),
            7 => drop(harness.unblock()),
            8 => drop(harness.pass(Duration::from_millis(u64::from(much) * 4))),
            9 => send(&handle, &mut sent, much),
            10 => drop(harness.mail()),
            11 if open && !fin && much < 64 => {
                fin = true;
                harness.receive_eof();
            }
            12 if open && much < 16 => drop(harness.reset()),
            12 if much < 32 => handle.close_after_flush(),
            13 if open && much < 16 => drop(harness.shutdown()),
            _ => {}
        }
        output.extend(harness.sent());
        check_output(&output, &seen.borrow().echoed);
    }
    // Whatever happened: a peer that reads and then breaks off brings it to its end.
    harness.unblock().mail();
    if harness.closed().is_none() {
        harness.reset().mail();
    }
    output.extend(harness.sent());
    check_output(&output, &seen.borrow().echoed);
    let closed = harness.closed();
    assert_eq!(seen.borrow().closed, closed, "the handler was told");
    assert!(closed.is_some() && handle.closed() == closed);
    drop(harness);
    let answers = std::mem::take(&mut *sent.answers.lock().expect("nobody panics"));
    let mut numbers: Vec<u32> = answers.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    let all: Vec<u32> = (0..sent.accepted).collect();
    assert_eq!(numbers, all, "each accepted message is answered once");
    let left = answers.iter().filter(|(_, left)| *left).count();
    let there = frames(&output)
        .filter(|frame| frame.starts_with(FROM_HANDLE))
        .count();
    assert!(left <= there, "what was told to have left has left");
}

fn send(handle: &netwheel::ConnectionHandle<Bytes>, sent: &mut Sent, much: u8) {
    let number = sent.accepted;
    let mut message = FROM_HANDLE.to_vec();
    message.extend_from_slice(&number.to_be_bytes());
    message.resize(message.len() + usize::from(much), 0);
    let answers = Arc::clone(&sent.answers);
    let done = move |result: std::result::Result<(), CloseReason>| {
        answers
            .lock()
            .expect("nobody panics")
            .push((number, result.is_ok()));
    };
    if handle.try_send_then(message.into(), done).is_ok() {
        sent.accepted += 1;
    }
}

/// The frames of a stream; the last may not be there whole.
fn frames(mut stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = stream.split_first_chunk()?;
        let frame = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        stream = &rest[frame.len()..];
        Some(frame)
    })
}

/// Echoes are those of the handler, in order and from the first; handles' messages keep their order.
fn check_output(output: &[u8], echoed: &[Bytes]) {
    let (of_handles, echoes): (Vec<_>, Vec<_>) =
        frames(output).partition(|frame| frame.starts_with(FROM_HANDLE));
    for (echo, frame) in echoes.iter().zip(echoed) {
        assert_eq!(echo, frame);
    }
    assert!(echoes.len() <= echoed.len(), "an echo of nothing");
    for (number, frame) in of_handles.iter().enumerate() {
        assert_eq!(
            frame[FROM_HANDLE.len()..][..4],
            (number as u32).to_be_bytes()
        );
    }
}
