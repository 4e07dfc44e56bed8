//! Wake-ups that are owed, destructors that panic, and the end of a pool, on real threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{Executor, RunLane};
use crate::mailbox::{Command, Mailbox, Wake};
use crate::sync::lock;

/// Far longer than anything here takes; a hang fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Counts the wake-ups of a worker.
struct Bell(Arc<AtomicUsize>);

impl Wake for Bell {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits until the other lane runs, owes a wake-up, and tells how many there were before it ends.
struct Owing {
    pool: Executor,
    mailbox: Arc<Mailbox>,
    other_runs: Mutex<Receiver<()>>,
    wakes: Arc<AtomicUsize>,
    told: Sender<usize>,
}

impl RunLane for Owing {
    fn run(self: Arc<Self>, _: bool) {
        lock(&self.other_runs)
            .recv_timeout(PATIENCE)
            .expect("two threads");
        assert!(
            self.mailbox.push_quietly(Command::Arrivals),
            "the worker sleeps"
        );
        self.pool.owe(Arc::clone(&self.mailbox));
        let _ = self.told.send(self.wakes.load(Ordering::SeqCst));
    }
}

/// Says that it runs, and blocks.
struct Blocking {
    runs: Sender<()>,
    until: Mutex<Receiver<()>>,
}

impl RunLane for Blocking {
    fn run(self: Arc<Self>, _: bool) {
        let _ = self.runs.send(());
        let _ = lock(&self.until).recv_timeout(PATIENCE);
    }
}

#[test]
fn a_wake_up_is_not_owed_to_a_thread_that_has_found_other_work() {
    for _ in 0..50 {
        let pool = Executor::new(2);
        pool.run_admitted(Box::new(|| {}));
        while !pool.pool.shared.parking.all_asleep(2) {
            thread::yield_now();
        }
        let wakes = Arc::new(AtomicUsize::new(0));
        let mailbox = Arc::new(Mailbox::new(Box::new(Bell(Arc::clone(&wakes))), 1));
        assert!(mailbox.may_sleep());
        let ((runs, other_runs), (told, tells)) = (channel(), channel());
        let (go, until) = channel();
        // The first thread finds this lane and calls the second, so it may owe...
        pool.submit_lane_quietly(Arc::new(Owing {
            pool: pool.clone(),
            mailbox,
            other_runs: Mutex::new(other_runs),
            wakes,
            told,
        }));
        // ... which has paid, and is busy for long, before the first owes anything.
        pool.submit_lane_quietly(Arc::new(Blocking {
            runs,
            until: Mutex::new(until),
        }));
        pool.call();
        assert_eq!(tells.recv_timeout(PATIENCE), Ok(1));
        drop(go);
    }
}

/// A lane whose destructor panics.
struct Sore;

impl RunLane for Sore {
    fn run(self: Arc<Self>, _: bool) {}
}

impl Drop for Sore {
    fn drop(&mut self) {
        panic!("a destructor panics");
    }
}

#[test]
fn a_destructor_that_panics_ends_no_thread() {
    let pool = Executor::new(1);
    pool.submit_lane(Arc::new(Sore));
    let (done, dones) = channel();
    let job = move || {
        let _ = done.send(());
    };
    assert!(pool.try_execute(job).is_ok());
    assert_eq!(dones.recv_timeout(PATIENCE), Ok(()));
}

#[test]
fn the_drop_of_the_last_handle_waits_for_a_running_job() {
    let pool = Executor::new(1);
    let ((started, starts), (_never, nothing)) = (channel(), channel::<()>());
    let done = Arc::new(AtomicBool::new(false));
    let doing = Arc::clone(&done);
    let job = move || {
        let _ = started.send(());
        let _ = nothing.recv_timeout(Duration::from_millis(50));
        doing.store(true, Ordering::SeqCst);
    };
    assert!(pool.try_execute(job).is_ok());
    assert_eq!(starts.recv_timeout(PATIENCE), Ok(()));
    drop(pool);
    assert!(done.load(Ordering::SeqCst));
}
