//! Handles: what other threads may do to a connection, in which order, and what they are told.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use netwheel::codec::LengthField;
use netwheel::limits::{ConnectionLimits, WorkerLimits};
use netwheel::{
    Client, CloseReason, ConnectionHandle, ConnectionId, Context, ErrorKind, Handler, Pipeline,
    Reactor, Result, RunningServer, Server, TrySendError,
};
use util::{Caller, Gate, PATIENCE, any_port, eventually};

type Handle = ConnectionHandle<Bytes>;
type Cx<'a> = Context<'a, Bytes, Bytes>;

/// Gives the test the handle of each connection and the reason of each close.
#[derive(Clone)]
struct Reporter {
    handles: Sender<Handle>,
    closes: Sender<CloseReason>,
}

struct Reporting<F> {
    to: Reporter,
    on_message: F,
}

impl<F> Handler<Bytes, Bytes> for Reporting<F>
where
    F: FnMut(&mut Cx<'_>, Bytes) -> Result<()> + 'static,
{
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        Ok(self.to.handles.send(cx.handle())?)
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, message: Bytes) -> Result<()> {
        (self.on_message)(cx, message)
    }

    fn on_close(&mut self, _: &mut Cx<'_>, reason: CloseReason) {
        let _ = self.to.closes.send(reason);
    }
}

/// A server of one worker whose connections' handles the test gets.
struct Rig {
    server: RunningServer,
    handles: Receiver<Handle>,
    closes: Receiver<CloseReason>,
}

impl Rig {
    /// Its handler stops at the gate for every message `block`, and sends back everything else.
    fn new(gate: &Gate) -> Self {
        Self::with(gate, WorkerLimits::default(), ConnectionLimits::default())
    }

    fn with(gate: &Gate, worker: WorkerLimits, connection: ConnectionLimits) -> Self {
        let gate = gate.clone();
        let handler = move || {
            let gate = gate.clone();
            move |cx: &mut Cx<'_>, message: Bytes| {
                if &message[..] == b"block" {
                    gate.pass();
                    return Ok(());
                }
                cx.write(message)
            }
        };
        Self::handling(worker, connection, handler)
    }

    fn handling<F>(
        worker: WorkerLimits,
        connection: ConnectionLimits,
        handler: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: FnMut(&mut Cx<'_>, Bytes) -> Result<()> + 'static,
    {
        let ((handles, got), (closes, closed)) = (unbounded(), unbounded());
        let to = Reporter { handles, closes };
        let server = Server::new()
            .reactor(Reactor::builder().workers(1).limits(worker))
            .limits(connection)
            .pipeline(move |_| {
                Pipeline::new(LengthField::u32()).handler(Reporting {
                    to: to.clone(),
                    on_message: handler(),
                })
            })
            .listen(any_port())
            .unwrap()
            .start()
            .unwrap();
        Self {
            server,
            handles: got,
            closes: closed,
        }
    }

    fn connect(&self) -> (Caller, Handle) {
        let caller = Caller::new(self.server.address());
        (caller, self.handles.recv_timeout(PATIENCE).unwrap())
    }

    fn reason(&self) -> CloseReason {
        self.closes.recv_timeout(PATIENCE).unwrap()
    }
}

fn number(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

const fn assert_send_sync_clone<T: Send + Sync + Clone>() {}
const _: () = assert_send_sync_clone::<ConnectionHandle<Bytes>>();
const _: () = assert_send_sync_clone::<ConnectionHandle<std::cell::Cell<u8>>>();
const _: () = assert_send_sync_clone::<ConnectionId>();

/// Fails to compile when the type is `Send`: then two implementations would fit.
macro_rules! assert_not_send {
    ($type:ty) => {
        const _: fn() = || {
            trait AmbiguousIfSend<A> {
                fn anything() {}
            }
            struct OfSend;
            impl<T: ?Sized> AmbiguousIfSend<()> for T {}
            impl<T: ?Sized + Send> AmbiguousIfSend<OfSend> for T {}
            let _ = <$type as AmbiguousIfSend<_>>::anything;
        };
    };
}
assert_not_send!(Pipeline<Bytes, Bytes>);
assert_not_send!(netwheel::AnyPipeline);
assert_not_send!(Context<'static, Bytes, Bytes>);
assert_not_send!(ConnectionHandle<Rc<()>>);

#[test]
fn each_threads_messages_keep_their_order() {
    const THREADS: u32 = 4;
    const EACH: u32 = 5_000;
    let rig = Rig::new(&Gate::new());
    let (mut caller, handle) = rig.connect();
    let senders: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = handle.clone();
            thread::spawn(move || {
                for n in 0..EACH {
                    handle.try_send(number(thread * EACH + n)).unwrap();
                }
            })
        })
        .collect();
    let mut next = [0; THREADS as usize];
    for _ in 0..THREADS * EACH {
        let got = caller.expect_number();
        let next = &mut next[(got / EACH) as usize];
        assert_eq!(got % EACH, *next);
        *next += 1;
    }
    senders
        .into_iter()
        .for_each(|sender| sender.join().unwrap());
}

#[test]
fn writes_of_callbacks_and_of_handles_keep_one_order() {
    let rig = Rig::handling(WorkerLimits::default(), ConnectionLimits::default(), || {
        |cx: &mut Cx<'_>, _| {
            let handle = cx.handle();
            for n in 0..1_000 {
                match n % 3 {
                    0 => handle.try_send(number(n))?,
                    1 => cx.write(number(n))?,
                    _ => cx.try_write(number(n))?,
                }
            }
            Ok(())
        }
    });
    let (mut caller, _handle) = rig.connect();
    caller.send_all([&b"go"[..], b"go"]);
    for n in (0..1_000).chain(0..1_000) {
        assert_eq!(caller.expect_number(), n);
    }
}

#[test]
fn what_another_thread_sent_before_leaves_before() {
    let gate = Gate::new();
    let (held, at) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let rig = Rig::handling(
        WorkerLimits::default(),
        ConnectionLimits::default(),
        move || {
            let (gate, at) = (held.clone(), Arc::clone(&at));
            move |cx: &mut Cx<'_>, _| {
                gate.pass();
                let n = at.fetch_add(1, Ordering::Relaxed);
                cx.write(number(u32::try_from(n).unwrap()))
            }
        },
    );
    let (mut caller, handle) = rig.connect();
    for n in 0..100 {
        caller.send(b"go");
        gate.wait();
        handle.try_send(text("before")).unwrap();
        gate.open();
        assert_eq!(&caller.expect()[..], b"before");
        assert_eq!(caller.expect_number(), n);
    }
}

/// Counts how often each of many completions was called.
#[derive(Clone)]
struct Tally {
    calls: Arc<Vec<AtomicUsize>>,
    failures: Arc<AtomicUsize>,
}

impl Tally {
    fn new(count: usize) -> Self {
        Self {
            calls: Arc::new((0..count).map(|_| AtomicUsize::new(0)).collect()),
            failures: Arc::default(),
        }
    }

    fn completion(
        &self,
        n: usize,
    ) -> impl FnOnce(Result<(), CloseReason>) + Send + use<> + 'static {
        let tally = self.clone();
        move |result| {
            tally.calls[n].fetch_add(1, Ordering::SeqCst);
            tally
                .failures
                .fetch_add(usize::from(result.is_err()), Ordering::SeqCst);
        }
    }

    fn called(&self) -> usize {
        self.calls
            .iter()
            .map(|calls| calls.load(Ordering::SeqCst))
            .sum()
    }

    fn assert_once(&self, accepted: usize) {
        eventually("every completion is called", || self.called() >= accepted);
        for (n, calls) in self.calls.iter().enumerate() {
            let expected = usize::from(n < accepted);
            assert_eq!(calls.load(Ordering::SeqCst), expected, "completion {n}");
        }
    }

    fn failures(&self) -> usize {
        self.failures.load(Ordering::SeqCst)
    }
}

#[test]
fn completions_are_called_once_when_everything_leaves() {
    let rig = Rig::new(&Gate::new());
    let (mut caller, handle) = rig.connect();
    let tally = Tally::new(5_000);
    for n in 0..5_000 {
        let out = number(u32::try_from(n).unwrap());
        handle.try_send_then(out, tally.completion(n)).unwrap();
    }
    for n in 0..5_000 {
        assert_eq!(caller.expect_number(), n);
    }
    tally.assert_once(5_000);
    assert_eq!(tally.failures(), 0);
}

#[test]
fn completions_are_called_once_when_the_peer_resets_in_the_middle() {
    const SIZE: usize = 64 * 1024;
    let mut limits = ConnectionLimits::default();
    limits.output_bytes_max = 1_000 * SIZE;
    let rig = Rig::with(&Gate::new(), WorkerLimits::default(), limits);
    let (mut caller, handle) = rig.connect();
    let tally = Tally::new(500);
    let out = Bytes::from(vec![7; SIZE]);
    let accepted = (0..500)
        .take_while(|n| {
            handle
                .try_send_then(out.clone(), tally.completion(*n))
                .is_ok()
        })
        .count();
    assert_eq!(caller.expect().len(), SIZE);
    socket2::SockRef::from(&caller.0)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(caller);
    tally.assert_once(accepted);
    assert_eq!(rig.reason(), CloseReason::Reset);
    // More than the kernel swallows was queued, and something had arrived.
    assert!(0 < tally.failures() && tally.failures() < accepted);
}

#[test]
fn the_completion_of_a_refused_message_is_never_called() {
    let rig = Rig::new(&Gate::new());
    let (caller, handle) = rig.connect();
    drop(caller);
    assert_eq!(
        handle.wait_closed(PATIENCE).unwrap(),
        CloseReason::PeerClosed
    );
    let tally = Tally::new(1);
    let refused = handle.try_send_then(text("late"), tally.completion(0));
    assert!(matches!(refused, Err(TrySendError::Closed(message)) if message == "late"));
    assert_eq!(tally.called(), 0);
}

#[test]
fn a_message_without_bytes_is_completed_as_well() {
    let (sender, handles) = unbounded();
    let server = Server::new()
        .workers(1)
        .pipeline(move |_| {
            let sender = sender.clone();
            Pipeline::raw().handle(move |cx, _| Ok(sender.send(cx.handle())?))
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let mut caller = Caller::new(server.address());
    caller.send(b"x");
    let handle = handles.recv_timeout(PATIENCE).unwrap();
    let tally = Tally::new(1);
    handle
        .try_send_then(Bytes::new(), tally.completion(0))
        .unwrap();
    tally.assert_once(1);
    assert_eq!(tally.failures(), 0);
}

#[test]
fn a_completion_that_panics_costs_its_own_connection_only() {
    let rig = Rig::new(&Gate::new());
    let (mut caller, handle) = rig.connect();
    handle
        .try_send_then(text("one"), |_| panic!("a completion of the test panics"))
        .unwrap();
    assert_eq!(&caller.expect()[..], b"one");
    caller.expect_end();
    assert_eq!(rig.reason(), CloseReason::Panic);
    assert_eq!(&rig.connect().0.ask(b"three")[..], b"three");
}

#[test]
fn over_the_bound_messages_come_back() {
    let gate = Gate::new();
    let mut limits = ConnectionLimits::default();
    limits.output_bytes_max = 1_000;
    let rig = Rig::with(&gate, WorkerLimits::default(), limits);
    let (mut caller, handle) = rig.connect();
    caller.send(b"block");
    gate.wait();
    // An empty connection takes a message of any size, and then no other.
    handle.try_send(Bytes::from(vec![1; 5_000])).unwrap();
    assert_eq!(handle.queued_bytes(), 5_000);
    match handle.try_send(text("more")) {
        Err(TrySendError::Full(message)) => assert_eq!(message, "more"),
        other => panic!("{other:?}"),
    }
    gate.open();
    assert_eq!(caller.expect(), vec![1; 5_000]);
    eventually("there is room again", || handle.queued_bytes() == 0);
    caller.send(b"block");
    gate.wait();
    for _ in 0..10 {
        handle.try_send(Bytes::from(vec![2; 100])).unwrap();
    }
    let refused = handle.try_send(Bytes::from(vec![3; 100])).unwrap_err();
    assert!(refused.is_full());
    assert_eq!(refused.into_inner(), vec![3; 100]);
    gate.open();
    for _ in 0..10 {
        assert_eq!(caller.expect(), vec![2; 100]);
    }
}

#[test]
fn close_after_flush_lets_everything_leave_and_takes_nothing_more() {
    let gate = Gate::new();
    let rig = Rig::new(&gate);
    let (mut caller, handle) = rig.connect();
    caller.send(b"block");
    gate.wait();
    for n in 0..10_000 {
        handle.try_send(number(n)).unwrap();
    }
    handle.close_after_flush();
    let late = handle.try_send(text("late"));
    assert!(matches!(late, Err(TrySendError::Closed(message)) if message == "late"));
    gate.open();
    for n in 0..10_000 {
        assert_eq!(caller.expect_number(), n);
    }
    caller.expect_end();
    assert_eq!(rig.reason(), CloseReason::Local);
}

#[test]
fn a_connection_that_flushes_to_its_end_takes_nothing_more() {
    let mut limits = ConnectionLimits::default();
    limits.output_bytes_max = usize::MAX;
    let rig = Rig::with(&Gate::new(), WorkerLimits::default(), limits);
    let ((caller, handle), (mut other, _)) = (rig.connect(), rig.connect());
    // Far more than the kernel swallows, to a peer that does not read: the flush takes for ever.
    let block = Bytes::from(vec![0; 1 << 20]);
    for _ in 0..20 {
        handle.try_send(block.clone()).unwrap();
    }
    handle.close_after_flush();
    // Once the other connection is answered, the one worker has seen the wish to close.
    other.ask(b"hello");
    assert_eq!(handle.closed(), None);
    let late = handle.try_send(text("late"));
    assert!(matches!(late, Err(TrySendError::Closed(_))), "{late:?}");
    drop(caller);
    assert_eq!(handle.wait_closed(PATIENCE).unwrap(), CloseReason::Reset);
}

#[test]
fn a_close_from_a_callback_lets_what_handles_sent_before_leave() {
    let rig = Rig::handling(WorkerLimits::default(), ConnectionLimits::default(), || {
        |cx: &mut Cx<'_>, _| {
            for n in 0..20_000 {
                cx.handle().try_send(number(n))?;
            }
            cx.close_after_flush(CloseReason::Duplicate);
            assert!(cx.try_write(text("late")).is_err());
            Ok(())
        }
    });
    let (mut caller, handle) = rig.connect();
    caller.send(b"go");
    for n in 0..20_000 {
        assert_eq!(caller.expect_number(), n);
    }
    caller.expect_end();
    assert_eq!(
        handle.wait_closed(PATIENCE).unwrap(),
        CloseReason::Duplicate
    );
}

#[test]
fn an_upgrade_lets_what_was_sent_before_leave_in_the_old_encoding() {
    let rig = Rig::handling(WorkerLimits::default(), ConnectionLimits::default(), || {
        |cx: &mut Cx<'_>, _| {
            for n in 0..20_000 {
                cx.handle().try_send(number(n))?;
            }
            cx.write(text("switching"))?;
            cx.upgrade(Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
            Ok(())
        }
    });
    let (mut caller, old) = rig.connect();
    caller.send(b"go");
    for n in 0..20_000 {
        assert_eq!(caller.expect_number(), n);
    }
    assert_eq!(&caller.expect()[..], b"switching");
    assert_eq!(&caller.ask(b"raw now")[..], b"raw now");
    let late = old.try_send(text("late"));
    assert!(matches!(late, Err(TrySendError::Closed(_))), "{late:?}");
}

#[test]
fn close_ends_at_once_and_answers_what_waits() {
    let gate = Gate::new();
    let rig = Rig::new(&gate);
    let (mut caller, handle) = rig.connect();
    caller.send(b"block");
    gate.wait();
    let tally = Tally::new(100);
    for n in 0..100 {
        handle
            .try_send_then(text("never"), tally.completion(n))
            .unwrap();
    }
    handle.close_after_flush();
    handle.close();
    gate.open();
    caller.expect_end();
    tally.assert_once(100);
    assert_eq!(tally.failures(), 100);
    assert_eq!(rig.reason(), CloseReason::Local);
    assert_eq!(handle.queued_bytes(), 0);
}

#[test]
fn the_handle_of_a_connection_that_has_gone_only_says_so() {
    let rig = Rig::new(&Gate::new());
    let (caller, old) = rig.connect();
    let id = old.id();
    drop(caller);
    assert_eq!(old.wait_closed(PATIENCE).unwrap(), CloseReason::PeerClosed);
    assert_eq!(old.closed(), Some(CloseReason::PeerClosed));
    assert_eq!(
        old.wait_open(PATIENCE).unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(old.id(), id);
    // The next connection gets the slot, and nothing that is meant for the old one.
    let (mut caller, new) = rig.connect();
    assert_ne!(new.id(), id);
    old.close();
    old.close_after_flush();
    assert!(old.try_send(text("stray")).is_err());
    assert_eq!(&caller.ask(b"hello")[..], b"hello");
    assert_eq!(new.closed(), None);
}

#[test]
fn the_mailbox_of_a_worker_is_bounded_but_never_for_a_close() {
    let gate = Gate::new();
    let mut limits = WorkerLimits::default();
    limits.mailbox_messages_max = 10;
    let rig = Rig::with(&gate, limits, ConnectionLimits::default());
    let ((mut one, first), (mut two, second)) = (rig.connect(), rig.connect());
    one.send(b"block");
    gate.wait();
    for n in 0..10 {
        let handle = if n % 2 == 0 { &first } else { &second };
        handle.try_send(number(n)).unwrap();
    }
    assert!(first.try_send(text("full")).unwrap_err().is_full());
    assert!(second.try_send(text("full")).unwrap_err().is_full());
    second.close_after_flush();
    gate.open();
    for n in (0..10).step_by(2) {
        assert_eq!(one.expect_number(), n);
        assert_eq!(two.expect_number(), n + 1);
    }
    two.expect_end();
    assert_eq!(rig.reason(), CloseReason::Local);
    // Room is given back, to the last message.
    one.send(b"block");
    gate.wait();
    for n in 0..10 {
        first.try_send(number(n)).unwrap();
    }
    assert!(first.try_send(text("full")).unwrap_err().is_full());
    gate.open();
}

#[test]
fn what_is_sent_before_the_connect_is_counted_once() {
    let gate = Gate::new();
    let rig = Rig::new(&gate);
    let mut limits = WorkerLimits::default();
    limits.mailbox_messages_max = 10;
    let reactor = Reactor::builder()
        .workers(1)
        .limits(limits)
        .start()
        .unwrap();
    let (held, sender, answers) = {
        let (sender, answers) = unbounded();
        (gate.clone(), sender, answers)
    };
    let client = Client::on(&reactor).pipeline(move || {
        let (gate, sender) = (held.clone(), sender.clone());
        Pipeline::new(LengthField::u32()).handle(move |_, answer: Bytes| {
            if &answer[..] == b"hold" {
                gate.pass();
            }
            Ok(sender.send(answer)?)
        })
    });
    let first = client.connect(rig.server.address()).unwrap();
    first.try_send(text("hold")).unwrap();
    gate.wait();
    // The worker is held, so what is sent now waits for a connection that has no worker yet.
    let second = client.connect(rig.server.address()).unwrap();
    for n in 0..5 {
        second.try_send(number(n)).unwrap();
    }
    gate.open();
    assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), "hold");
    for n in 0..5 {
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), number(n));
    }
    second.wait_open(PATIENCE).unwrap();
    for n in 0..100 {
        second.try_send(number(n)).unwrap();
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), number(n));
    }
}

#[test]
fn ten_thousand_sends_in_one_turn_are_a_few_turns() {
    let gate = Gate::new();
    let rig = Rig::new(&gate);
    let (mut caller, handle) = rig.connect();
    caller.send(b"block");
    gate.wait();
    let before = rig.server.stats().loop_turns;
    for n in 0..10_000 {
        handle.try_send(number(n)).unwrap();
    }
    gate.open();
    for n in 0..10_000 {
        assert_eq!(caller.expect_number(), n);
    }
    let turns = rig.server.stats().loop_turns - before;
    assert!(turns < 20, "{turns} turns for one burst");
}

#[test]
fn a_worker_refuses_to_wait_for_its_own_connections() {
    let rig = Rig::handling(WorkerLimits::default(), ConnectionLimits::default(), || {
        |cx: &mut Cx<'_>, _| {
            let handle = cx.handle();
            let refused = [
                handle.wait_closed(PATIENCE).map(|_| ()).unwrap_err().kind(),
                handle.wait_open(PATIENCE).unwrap_err().kind(),
            ];
            assert_eq!(refused, [ErrorKind::Misuse; 2]);
            cx.write(text("refused"))
        }
    });
    let (mut caller, handle) = rig.connect();
    assert_eq!(&caller.ask(b"go")[..], b"refused");
    let nothing = handle.wait_closed(Duration::from_millis(1)).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Timeout);
}
