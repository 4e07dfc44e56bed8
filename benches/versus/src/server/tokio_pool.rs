//! The two ways in which tokio's users do business work off the I/O threads.

use std::future::Future;
use std::thread;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task;

/// Does the business work of a frame on another thread.
pub trait Offload: Clone + Send + Sync + 'static {
    fn offload(&self, frame: Bytes) -> impl Future<Output = Bytes> + Send + 'static;
}

/// The business work: echo.
fn handle(frame: Bytes) -> Bytes {
    frame
}

/// tokio's own blocking pool.
#[derive(Debug, Clone, Copy)]
pub struct Blocking;

impl Offload for Blocking {
    fn offload(&self, frame: Bytes) -> impl Future<Output = Bytes> + Send + 'static {
        let task = task::spawn_blocking(move || handle(frame));
        async move { task.await.expect("the work does not panic") }
    }
}

type Job = (Bytes, oneshot::Sender<Bytes>);

/// Threads fed by one crossbeam channel, each answer by a oneshot channel of its own.
#[derive(Debug, Clone)]
pub struct Crossbeam {
    jobs: crossbeam_channel::Sender<Job>,
}

impl Crossbeam {
    pub fn new(threads: usize) -> Self {
        let (jobs, queue) = crossbeam_channel::unbounded::<Job>();
        for _ in 0..threads {
            let queue = queue.clone();
            thread::spawn(move || {
                for (frame, answer) in queue {
                    // The connection may have gone meanwhile.
                    let _ = answer.send(handle(frame));
                }
            });
        }
        Self { jobs }
    }
}

impl Offload for Crossbeam {
    fn offload(&self, frame: Bytes) -> impl Future<Output = Bytes> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        let sent = self.jobs.send((frame, answer));
        sent.expect("the pool lives as long as the server");
        async move { answered.await.expect("every job is answered") }
    }
}
