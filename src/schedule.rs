//! Work for later: the one way in which the crate waits between two connections.
//!
//! Timers of a connection belong to its worker. What has no connection, such as a client that waits before
//! it dials again, leaves a task here. The schedule has no thread and no clock: its network asks when the
//! next task is due, and calls it: the acceptor's loop on the operating system, the world in memory.

use std::sync::Mutex;

use crate::clock::Instant;
use crate::error::{Error, ErrorKind};
use crate::limits::TASKS_MAX;
use crate::sync::lock;
use crate::wheel::{TimerId, Wheel};

/// What is done later; dropped uncalled where the network ends before. It must not block.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// Names one task; after it was called or cancelled, it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(TimerId);

/// Tasks, each of which is called once, or dropped.
///
/// Threads: any. Cost: O(1) under a lock that is held for no call. Limit: [`TASKS_MAX`].
pub(crate) struct Schedule(Mutex<Tasks>);

struct Tasks {
    wheel: Wheel<Task>,
    max: usize,
    ended: bool,
}

impl Schedule {
    pub(crate) fn new() -> Self {
        Self::with_max(TASKS_MAX)
    }

    fn with_max(max: usize) -> Self {
        let wheel = Wheel::new();
        Self(Mutex::new(Tasks {
            wheel,
            max,
            ended: false,
        }))
    }

    /// Keeps a task until `at`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OverLimit`] when there are too many, [`ErrorKind::Closed`] when the network has ended;
    /// the task comes back then.
    pub(crate) fn add(&self, at: Instant, task: Task) -> Result<TaskId, (Error, Task)> {
        let mut tasks = lock(&self.0);
        if tasks.ended {
            return Err((Error::new(ErrorKind::Closed, "the network has ended"), task));
        }
        if tasks.wheel.len() >= tasks.max {
            let text = format!(
                "{} clients wait to dial already, the most that may",
                tasks.max
            );
            return Err((Error::new(ErrorKind::OverLimit, text), task));
        }
        Ok(TaskId(tasks.wheel.arm(at, task)))
    }

    /// Drops a task uncalled, unless it has been called.
    pub(crate) fn cancel(&self, id: TaskId) {
        let task = lock(&self.0).wheel.cancel(id.0);
        drop(task);
    }

    /// When to ask for due tasks next.
    pub(crate) fn next(&self) -> Option<Instant> {
        lock(&self.0).wheel.next_expiry()
    }

    /// A task that is due; takes from `budget` as [`Wheel::expire`] does.
    pub(crate) fn take_due(&self, now: Instant, budget: &mut usize) -> Option<Task> {
        lock(&self.0).wheel.expire(now, budget)
    }

    /// Drops all tasks uncalled, and takes no more.
    pub(crate) fn end(&self) {
        let wheel = {
            let mut tasks = lock(&self.0);
            tasks.ended = true;
            std::mem::replace(&mut tasks.wheel, Wheel::new())
        };
        drop(wheel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn noting(notes: &Arc<Mutex<Vec<u32>>>, note: u32) -> Task {
        let notes = Arc::clone(notes);
        Box::new(move || lock(&notes).push(note))
    }

    #[test]
    fn tasks_are_called_when_they_are_due_and_never_after_a_cancel() {
        let (schedule, notes) = (Schedule::new(), Arc::default());
        let at = |seconds| Instant::START + seconds * SECOND;
        schedule.add(at(2), noting(&notes, 2)).ok().expect("room");
        schedule.add(at(1), noting(&notes, 1)).ok().expect("room");
        let cancelled = schedule.add(at(1), noting(&notes, 9)).ok().expect("room");
        schedule.cancel(cancelled);
        for (second, called) in [(0, &[][..]), (1, &[1]), (3, &[1, 2])] {
            while let Some(task) = schedule.take_due(at(second), &mut 100) {
                task();
            }
            assert_eq!(*lock(&notes), called);
        }
        schedule.cancel(cancelled);
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn a_full_schedule_and_one_that_has_ended_refuse() {
        let schedule = Schedule::with_max(1);
        let add = || {
            let added = schedule.add(Instant::START, Box::new(|| ()));
            added.map_err(|(error, _)| error.kind())
        };
        add().expect("room for one");
        assert_eq!(add(), Err(ErrorKind::OverLimit));
        schedule.end();
        assert_eq!(schedule.next(), None);
        assert_eq!(add(), Err(ErrorKind::Closed));
    }

    /// Asks for more as it is dropped, which must find no lock held.
    struct Again(Arc<Schedule>);

    impl Drop for Again {
        fn drop(&mut self) {
            let refused = self.0.add(Instant::START, Box::new(|| ()));
            assert!(refused.is_err(), "it has ended");
        }
    }

    #[test]
    fn a_task_that_is_dropped_may_ask_for_more() {
        let schedule = Arc::new(Schedule::new());
        let again = Again(Arc::clone(&schedule));
        let task = Box::new(move || drop(again));
        assert!(schedule.add(Instant::START, task).is_ok(), "there is room");
        schedule.end();
        assert_eq!(schedule.next(), None);
    }
}
