//! Handing work to the pool and getting the result, beside threads that wait at a channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Sender, bounded};
use divan::Bencher;
use divan::counter::ItemsCount;
use netwheel::testing::Harness;
use netwheel::{Executor, Pipeline};

use crate::pipeline::Bytewise;

/// Threads of a pool.
const THREADS: [usize; 2] = [1, 4];

/// Jobs or messages that are handed over together; a lane holds no more.
const BURST: usize = 64;

trait Pool {
    fn start(threads: usize) -> Self;
    fn execute(&self, job: impl FnOnce() + Send + 'static);
}

/// One job there, its answer back; all threads sleep before it comes.
#[divan::bench(types = [Executor, Channel], args = THREADS)]
fn round_trip<P: Pool>(bencher: Bencher<'_, '_>, threads: usize) {
    let pool = P::start(threads);
    let (sender, answers) = bounded(1);
    bencher.bench_local(|| {
        let sender = sender.clone();
        pool.execute(move || sender.send(()).expect("it is waited for"));
        answers.recv()
    });
}

/// A thread for one job, as a program without a pool does it.
#[divan::bench]
fn round_trip_of_new_thread() {
    thread::spawn(|| ()).join().expect("it does nothing");
}

/// So many jobs there, one answer back when all are done.
#[divan::bench(types = [Executor, Channel], args = THREADS)]
fn burst<P: Pool>(bencher: Bencher<'_, '_>, threads: usize) {
    let pool = P::start(threads);
    let left = Arc::new(AtomicUsize::new(0));
    let (sender, answers) = bounded(1);
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        left.store(BURST, Ordering::SeqCst);
        for _ in 0..BURST {
            let (left, sender) = (Arc::clone(&left), sender.clone());
            pool.execute(move || {
                if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    sender.send(()).expect("it is waited for");
                }
            });
        }
        answers.recv()
    });
}

/// So many messages of one connection through its lane and back, all on one thread: what a lane costs
/// without what the system takes for waking a thread.
#[divan::bench]
fn lane(bencher: Bencher<'_, '_>) {
    let builder = Harness::builder();
    let pool = builder.executor();
    let pipeline = Pipeline::new(Bytewise).handle_on(&pool, |cx, message| cx.write(message));
    let mut harness = builder.open(pipeline);
    bencher
        .counter(ItemsCount::new(BURST))
        .bench_local(|| harness.receive(&[1; BURST]).run_pool().sent());
    assert_eq!(harness.closed(), None);
}

impl Pool for Executor {
    fn start(threads: usize) -> Self {
        Self::new(threads)
    }

    fn execute(&self, job: impl FnOnce() + Send + 'static) {
        assert!(self.try_execute(job).is_ok(), "a burst finds room");
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that wait at a crossbeam channel and end with it.
struct Channel(Sender<Job>);

impl Pool for Channel {
    fn start(threads: usize) -> Self {
        let (sender, jobs) = bounded::<Job>(1024);
        for _ in 0..threads {
            let jobs = jobs.clone();
            thread::spawn(move || jobs.iter().for_each(|job| job()));
        }
        Self(sender)
    }

    fn execute(&self, job: impl FnOnce() + Send + 'static) {
        let sent = self.0.try_send(Box::new(job));
        assert!(sent.is_ok(), "a burst finds room");
    }
}
