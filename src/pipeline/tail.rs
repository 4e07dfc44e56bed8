//! What a callback asked for and the chain does once it has returned.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use super::{Context, Event, Stage, Turn};
use crate::error::Result;
use crate::executor::{Executor, Task, Waiter};
use crate::handle::{Announce, CloseRequest, Entry, Outbox};
use crate::mailbox::Mailbox;

/// An edit of the chain.
pub(crate) enum Edit<In: 'static, Out: 'static> {
    Add {
        at: Place,
        name: &'static str,
        stage: Box<dyn Stage<In, Out>>,
    },
    Replace {
        old: &'static str,
        name: &'static str,
        stage: Box<dyn Stage<In, Out>>,
    },
    Remove {
        name: &'static str,
    },
}

/// Where a stage is added.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    First,
    Last,
    Before(&'static str),
    After(&'static str),
}

/// Something to be done after the current message, in the order in which it was asked for.
pub(crate) enum Action<In: 'static, Out: 'static> {
    Edit(Edit<In, Out>),
    /// A message that enters behind the stage that injected it.
    Inject {
        from: u32,
        message: In,
    },
    /// An event that starts behind the stage that fired it.
    Fire {
        from: u32,
        event: Event,
    },
}

type Done<In, Out> = Box<dyn FnOnce(&mut Context<'_, In, Out>, Box<dyn Any + Send>) -> Result<()>>;

/// A job on the pool, and what is to happen with its result; nothing, once its stage has gone.
pub(crate) struct Job<In: 'static, Out: 'static> {
    pub(crate) owner: u32,
    pub(crate) done: Option<Done<In, Out>>,
}

/// The typed, per-connection part of what callbacks see; both halves only exist once they are used.
pub(crate) struct Tail<In: 'static, Out: 'static> {
    deferred: Option<Box<Deferred<In, Out>>>,
    pub(crate) outlet: Option<Box<Outlet<Out>>>,
}

pub(crate) struct Deferred<In: 'static, Out: 'static> {
    pub(crate) actions: VecDeque<Action<In, Out>>,
    pub(crate) jobs: Slab<Job<In, Out>>,
    /// Jobs that found their pool full, by pool; at most
    /// [`LANE_MESSAGES_MAX`](crate::limits::LANE_MESSAGES_MAX) in all.
    pub(crate) backlogs: Vec<Backlog>,
}

/// The jobs of a connection that found one pool full.
pub(crate) struct Backlog {
    pool: Executor,
    waiter: Waiter,
    /// Whom to tell of room.
    who: Arc<dyn Announce>,
    tasks: VecDeque<Task>,
}

impl<In: 'static, Out: 'static> Deferred<In, Out> {
    /// Jobs that found their pool full.
    pub(crate) fn backlog_len(&self) -> usize {
        let lens = self.backlogs.iter().map(|backlog| backlog.tasks.len());
        lens.sum()
    }

    /// Whether a job would overtake others that wait for the pool.
    pub(crate) fn has_backlog(&self, pool: &Executor) -> bool {
        self.backlogs
            .iter()
            .any(|backlog| backlog.pool.is_same(pool))
    }

    /// Keeps a job until the pool has room; `who` is told then.
    pub(crate) fn keep(&mut self, pool: &Executor, task: Task, who: Arc<dyn Announce>) {
        let place = self
            .backlogs
            .iter()
            .position(|backlog| backlog.pool.is_same(pool));
        let index = place.unwrap_or_else(|| {
            self.backlogs.push(Backlog {
                pool: pool.clone(),
                waiter: pool.waiter(),
                who,
                tasks: VecDeque::new(),
            });
            self.backlogs.len() - 1
        });
        let backlog = &mut self.backlogs[index];
        backlog.tasks.push_back(task);
        backlog.waiter.wait(Arc::clone(&backlog.who), 1);
    }

    /// Runs the jobs whose pool has room by now; `true` when none is left.
    pub(crate) fn retry_jobs(&mut self) -> bool {
        self.backlogs.retain_mut(Backlog::retry);
        self.backlogs.is_empty()
    }
}

impl Backlog {
    /// Runs as many jobs as there is room for; `true` while some are left.
    fn retry(&mut self) -> bool {
        let granted = self.waiter.acquire(self.tasks.len());
        for task in self.tasks.drain(..granted) {
            self.pool.run_admitted(task);
        }
        let left = !self.tasks.is_empty();
        if left {
            self.waiter.wait(Arc::clone(&self.who), self.tasks.len());
        }
        left
    }
}

/// The worker's end of the outbox.
pub(crate) struct Outlet<Out> {
    pub(crate) outbox: Arc<Outbox<Out>>,
    /// Taken out of the outbox and not yet encoded, in part when the output is above the high water mark.
    pub(crate) batch: VecDeque<Entry<Out>>,
    /// Messages of the batch that were encoded or dropped, and their weight; still to be counted out.
    used: (usize, usize),
    /// Asked for behind the batch.
    pub(crate) close: Option<CloseRequest>,
}

impl<Out> Outlet<Out> {
    pub(crate) const fn new(outbox: Arc<Outbox<Out>>) -> Self {
        Self {
            outbox,
            batch: VecDeque::new(),
            used: (0, 0),
            close: None,
        }
    }

    pub(crate) fn next(&mut self) -> Option<Entry<Out>> {
        let entry = self.batch.pop_front()?;
        self.used.0 += 1;
        self.used.1 += entry.weight as usize;
        Some(entry)
    }

    /// Whether the next message has to wait for broadcasts behind the one that was fanned out last.
    pub(crate) fn is_ahead_of(&self, fanned_out: usize) -> bool {
        let ahead = |entry: &Entry<Out>| entry.is_ahead_of(fanned_out);
        self.batch.front().is_some_and(ahead) && self.outbox.is_member()
    }

    /// Counts out what has been used of the batch, all at once.
    pub(crate) fn count_out(&mut self, mailbox: &Mailbox) {
        let (count, bytes) = std::mem::take(&mut self.used);
        self.outbox.count_out(count, bytes, mailbox);
    }
}

impl<In: 'static, Out: 'static> Tail<In, Out> {
    pub(crate) const fn new() -> Self {
        Self {
            deferred: None,
            outlet: None,
        }
    }

    pub(crate) fn deferred(&mut self) -> &mut Deferred<In, Out> {
        self.deferred.get_or_insert_with(|| {
            Box::new(Deferred {
                actions: VecDeque::new(),
                jobs: Slab::new(),
                backlogs: Vec::new(),
            })
        })
    }

    pub(crate) fn deferred_mut(&mut self) -> Option<&mut Deferred<In, Out>> {
        self.deferred.as_deref_mut()
    }

    #[inline]
    pub(crate) fn has_actions(&self) -> bool {
        let deferred = self.deferred.as_ref();
        deferred.is_some_and(|deferred| !deferred.actions.is_empty())
    }

    pub(crate) fn next_action(&mut self) -> Option<Action<In, Out>> {
        self.deferred.as_mut()?.actions.pop_front()
    }

    /// Whether a write of a callback must queue up behind messages of handles, or broadcasts to its groups.
    pub(crate) fn must_wait(&self, turn: &Turn) -> bool {
        self.outlet.as_ref().is_some_and(|outlet| {
            outlet.outbox.is_waiting() || (outlet.outbox.is_member() && turn.has_broadcasts())
        })
    }

    pub(crate) fn jobs_are_done(&self) -> bool {
        self.deferred
            .as_ref()
            .is_none_or(|deferred| deferred.jobs.is_empty())
    }

    pub(crate) fn outlet_is_empty(&self) -> bool {
        self.outlet
            .as_ref()
            .is_none_or(|outlet| !outlet.outbox.is_waiting())
    }

    /// Forgets what was to happen with the results of a stage's jobs.
    pub(crate) fn orphan_jobs(&mut self, owner: u32) {
        let Some(deferred) = &mut self.deferred else {
            return;
        };
        for (_, job) in &mut deferred.jobs {
            if job.owner == owner {
                job.done = None;
            }
        }
    }
}
