//! The mailbox of a worker, filled by one thread and by four at once, beside a channel.
//!
//! The worker is awake: what it costs to wake one is the system's, and shows in `executor`.

use std::collections::VecDeque;
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, unbounded};
use divan::Bencher;
use divan::counter::ItemsCount;

use crate::id::Key;
use crate::internal::mailbox::{Command, Mailbox, Wake};
use crate::sync::lock;

const READY: Command = Command::Ready(Key {
    slot: 1,
    generation: 2,
});

/// Commands that a worker finds after a busy turn.
const BURST: usize = 64;

/// What threads put commands into.
trait Queue: Sync {
    fn new() -> Self;
    fn push(&self, command: Command);
    fn drain(&self);
}

/// One command; of several threads, each puts in one at a time and all do at once.
#[divan::bench(types = [Ours, Channel], threads = [1, 4], sample_size = 10_000)]
fn push<Q: Queue>(bencher: Bencher<'_, '_>) {
    let queue = Q::new();
    bencher
        .with_inputs(|| queue.drain())
        .bench_values(|()| queue.push(READY));
}

/// A worker's share too: 64 commands are put in, taken out and looked at.
#[divan::bench(types = [Ours, Channel])]
fn push_and_take<Q: Queue>(bencher: Bencher<'_, '_>) {
    let queue = Q::new();
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        for _ in 0..BURST {
            queue.push(READY);
        }
        queue.drain();
    });
}

/// A message is counted into the worker and out again.
#[divan::bench(threads = [1, 4], sample_size = 10_000)]
fn admit_and_release(bencher: Bencher<'_, '_>) {
    let mailbox = mailbox();
    bencher.bench(|| {
        let admitted = mailbox.admit();
        mailbox.release(1);
        admitted
    });
}

fn mailbox() -> Mailbox {
    struct Awake;

    impl Wake for Awake {
        fn wake(&self) {}
    }

    Mailbox::new(Box::new(Awake), usize::MAX)
}

/// The mailbox, and the worker's own queue, which changes places with the mailbox's.
struct Ours {
    mailbox: Mailbox,
    taken: Mutex<VecDeque<Command>>,
}

impl Queue for Ours {
    fn new() -> Self {
        Self {
            mailbox: mailbox(),
            taken: Mutex::default(),
        }
    }

    fn push(&self, command: Command) {
        self.mailbox.push(command);
    }

    fn drain(&self) {
        let mut taken = lock(&self.taken);
        self.mailbox.take(&mut taken);
        while let Some(command) = taken.pop_front() {
            divan::black_box(command);
        }
    }
}

/// crossbeam's channel without a bound.
struct Channel {
    sender: Sender<Command>,
    receiver: Receiver<Command>,
}

impl Queue for Channel {
    fn new() -> Self {
        let (sender, receiver) = unbounded();
        Self { sender, receiver }
    }

    fn push(&self, command: Command) {
        self.sender.send(command).expect("the receiver is there");
    }

    fn drain(&self) {
        for command in self.receiver.try_iter() {
            divan::black_box(command);
        }
    }
}
