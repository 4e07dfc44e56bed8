//! Every interleaving of the two protocols by which threads sleep: a worker's mailbox and a pool's parking.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --test loom
//! ```
//! The files under test are the library's own, built against loom's types. A wake-up that is lost shows
//! as a deadlock, which loom reports. Loom also lets a load see any value that the memory model allows.
#![cfg(loom)]
#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    reason = "a test, which uses a part of each file"
)]

#[path = "../src/id.rs"]
mod id;
#[path = "../src/mailbox.rs"]
mod mailbox;
#[path = "../src/executor/parking.rs"]
mod parking;
#[path = "../src/planted.rs"]
mod planted;

/// What `src/sync.rs` is to the library.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("no model panics with a lock held")
    }
}

use std::collections::VecDeque;
// Not loom's: that one cannot be dropped while a deadlock unwinds, and counting is not under test.
use std::sync::Arc;

use loom::sync::Notify;
use loom::thread;

use crate::id::Key;
use crate::mailbox::{Command, Mailbox, Wake};
use crate::parking::Parking;
use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, lock};

/// Involuntary switches of threads in one run: few show every known bug of this kind (Musuvathi and
/// Qadeer, "Iterative context bounding", 2007), and a bound keeps a model to seconds.
const PREEMPTIONS_MAX: usize = 3;
/// The same for the model of four atomics, two locks and three threads, which takes minutes with three.
const PREEMPTIONS_MAX_OF_POOL: usize = 2;

fn explore(preemptions_max: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions_max);
    builder.check(model);
}

/// The poll of a worker: a wake-up makes the current or the next wait return. Loom lets a wait return
/// for no reason too, as a poll does for a socket or a timer.
#[derive(Clone)]
struct Bell(Arc<Notify>);

impl Wake for Bell {
    fn wake(&self) {
        self.0.notify();
    }
}

fn mailbox() -> (Arc<Mailbox>, Bell) {
    let bell = Bell(Arc::new(Notify::new()));
    (Arc::new(Mailbox::new(Box::new(bell.clone()), 8)), bell)
}

fn ready(slot: u32) -> Command {
    Command::Ready(Key {
        slot,
        generation: 0,
    })
}

/// A worker that sleeps whenever it may, until it has been given so many commands.
fn take_all(mailbox: &Mailbox, bell: &Bell, count: usize) -> Vec<Command> {
    let (mut taken, mut commands) = (Vec::new(), VecDeque::new());
    while taken.len() < count {
        if mailbox.may_sleep() {
            bell.0.wait();
            mailbox.awake();
        }
        mailbox.take(&mut commands);
        taken.extend(commands.drain(..));
    }
    taken
}

/// Runs two senders against a worker, which must get their commands 0 to `count`, each once.
fn two_senders(first: fn(&Mailbox), second: fn(&Mailbox), count: u32) {
    explore(PREEMPTIONS_MAX, move || {
        let (mailbox, bell) = mailbox();
        let senders = [first, second].map(|send| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || send(&mailbox))
        });
        let taken = take_all(&mailbox, &bell, count as usize);
        for sender in senders {
            sender.join().expect("a sender does not panic");
        }
        for slot in 0..count {
            let times = taken.iter().filter(|&&command| command == ready(slot));
            assert_eq!(times.count(), 1, "command {slot} of {taken:?}");
        }
    });
}

fn push_and_pay(mailbox: &Mailbox, slot: u32) {
    if mailbox.push_quietly(ready(slot)) {
        mailbox.pay();
    }
}

#[test]
fn a_worker_gets_what_two_threads_push() {
    two_senders(
        |mailbox| {
            mailbox.push(ready(0));
            mailbox.push(ready(1));
        },
        |mailbox| mailbox.push(ready(2)),
        3,
    );
}

#[test]
fn a_worker_gets_what_two_threads_push_quietly_and_pay_for() {
    two_senders(
        |mailbox| push_and_pay(mailbox, 0),
        |mailbox| push_and_pay(mailbox, 1),
        2,
    );
}

/// The worker may have slept anew since the debt was made: it is paid for those who relied on it since.
#[test]
fn a_debt_is_paid_for_whoever_relied_on_it() {
    two_senders(
        |mailbox| push_and_pay(mailbox, 0),
        |mailbox| {
            mailbox.push(ready(1));
            push_and_pay(mailbox, 2);
        },
        3,
    );
}

#[test]
fn messages_are_admitted_up_to_the_limit() {
    explore(PREEMPTIONS_MAX, || {
        let bell = Bell(Arc::new(Notify::new()));
        let mailbox = Arc::new(Mailbox::new(Box::new(bell), 1));
        let other = Arc::clone(&mailbox);
        let sender = thread::spawn(move || other.admit());
        let mine = mailbox.admit();
        let theirs = sender.join().expect("a sender does not panic");
        // Two refusals may be one too many, two admissions are a limit that is none.
        assert!(!(mine && theirs), "both were let in");
        mailbox.release(usize::from(mine) + usize::from(theirs));
        assert!(mailbox.admit(), "all have gone, so there is room");
    });
}

/// The mailbox with one thing wrong: the worker looks at the queue first and then says that it sleeps.
#[test]
#[should_panic(expected = "deadlock")]
fn looking_before_saying_so_loses_a_wake_up() {
    explore(PREEMPTIONS_MAX, || {
        let commands = Arc::new(Mutex::new(VecDeque::new()));
        let sleeping = Arc::new(AtomicBool::new(false));
        let bell = Bell(Arc::new(Notify::new()));
        let sender = {
            let (commands, sleeping) = (Arc::clone(&commands), Arc::clone(&sleeping));
            let bell = bell.clone();
            thread::spawn(move || {
                lock(&commands).push_back(ready(0));
                if sleeping.swap(false, Ordering::SeqCst) {
                    bell.wake();
                }
            })
        };
        while lock(&commands).pop_front().is_none() {
            let empty = lock(&commands).is_empty();
            sleeping.store(true, Ordering::SeqCst);
            if empty {
                bell.0.wait();
            }
            sleeping.store(false, Ordering::SeqCst);
        }
        sender.join().expect("the sender does not panic");
    });
}

/// A pool without what its threads do: pieces of work are counted, in the weakest order that a channel
/// may have.
struct Pool {
    work: AtomicUsize,
    open: AtomicBool,
    parking: Parking,
    started: Mutex<usize>,
    all_started: Condvar,
    pieces: usize,
}

impl Pool {
    fn new(pieces: usize) -> Arc<Self> {
        Arc::new(Self {
            work: AtomicUsize::new(0),
            open: AtomicBool::new(true),
            parking: Parking::default(),
            started: Mutex::new(0),
            all_started: Condvar::new(),
            pieces,
        })
    }

    fn submit(&self) {
        self.work.fetch_add(1, Ordering::Release);
        self.parking.work_came();
    }

    fn has_work(&self) -> bool {
        self.work.load(Ordering::Relaxed) > 0
    }

    fn take(&self) -> bool {
        self.work
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |work| {
                work.checked_sub(1)
            })
            .is_ok()
    }

    /// A thread of the pool, as `run_until_closed` in `src/executor/mod.rs`.
    fn run(&self, handle: fn(&Self)) {
        loop {
            if self.take() {
                self.parking.work_found(|| self.has_work());
                handle(self);
            } else if self.open.load(Ordering::Acquire) {
                self.parking.search_ended();
                self.parking.park(|| self.has_work());
            } else {
                return;
            }
        }
    }

    fn handle(&self) {
        *lock(&self.started) += 1;
        self.all_started.notify_all();
    }

    fn handle_and_block(&self) {
        self.handle();
        self.wait_all_started();
    }

    fn wait_all_started(&self) {
        let mut started = lock(&self.started);
        while *started < self.pieces {
            started = self.all_started.wait(started).expect("nobody panics");
        }
    }

    fn close(&self) {
        self.open.store(false, Ordering::Release);
        self.parking.close();
    }
}

/// Handlers that wait for each other: a piece that waits for a busy thread would wait for ever.
#[test]
fn no_work_is_left_lying_while_a_thread_is_free() {
    explore(PREEMPTIONS_MAX_OF_POOL, || {
        let pool = Pool::new(2);
        let threads = [(); 2].map(|()| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.run(Pool::handle_and_block))
        });
        pool.submit();
        pool.submit();
        pool.wait_all_started();
        pool.close();
        for thread in threads {
            thread.join().expect("a thread of the pool does not panic");
        }
    });
}

/// Two submit at once: the one that finds somebody called already may rely on it.
#[test]
fn no_work_of_two_threads_is_left_lying() {
    explore(PREEMPTIONS_MAX_OF_POOL, || {
        let pool = Pool::new(2);
        let thread = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.run(Pool::handle))
        };
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.submit())
        };
        pool.submit();
        pool.wait_all_started();
        pool.close();
        other.join().expect("a submitter does not panic");
        thread.join().expect("a thread of the pool does not panic");
    });
}
