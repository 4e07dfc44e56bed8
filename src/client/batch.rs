//! Items gathered to be sent together.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::{error, warn};

use crate::error::{Error, TrySendError};
use crate::limits::{BATCH_DELAY_MAX, BATCH_ITEMS_MAX, BATCH_WAITING_MAX, at_least_one};
use crate::net::Net;
use crate::panics::contain;
use crate::sync::lock;

/// Gives a batch to whoever sends it; it comes back where that has no room at the moment.
type Deliver<T> = Box<dyn FnMut(Vec<T>) -> Result<(), Vec<T>> + Send>;

/// How items are to be gathered.
#[derive(Debug)]
pub struct BatchBuilder {
    net: Net,
    items_max: usize,
    delay_max: Duration,
    waiting_max: usize,
}

impl BatchBuilder {
    /// Items that make a batch full; [`BATCH_ITEMS_MAX`] by default.
    #[must_use]
    pub fn items_max(mut self, count: usize) -> Self {
        self.items_max = count;
        self
    }

    /// How long an item waits at most for others; [`BATCH_DELAY_MAX`] by default. Also the time between two
    /// tries to give away a batch that came back.
    #[must_use]
    pub fn delay_max(mut self, time: Duration) -> Self {
        self.delay_max = time;
        self
    }

    /// Items that wait at most, those of batches that came back included; [`BATCH_WAITING_MAX`] by default.
    #[must_use]
    pub fn waiting_max(mut self, count: usize) -> Self {
        self.waiting_max = count;
        self
    }

    /// Begins to gather. `deliver` is given each batch, in order and one at a time, and gives it back
    /// where it has no room for it: it comes again after the delay, and what was gathered meanwhile
    /// behind it.
    ///
    /// `deliver` runs on the thread that filled the batch, or on an I/O thread when the delay has passed,
    /// and must not block. Where it panics, what waits is dropped and nothing more is taken.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a count of zero.
    pub fn start<T, F>(self, deliver: F) -> Result<Batch<T>, Error>
    where
        T: Send + 'static,
        F: FnMut(Vec<T>) -> Result<(), Vec<T>> + Send + 'static,
    {
        at_least_one("items_max", self.items_max)?;
        at_least_one("waiting_max", self.waiting_max)?;
        let gathered = Gathered {
            items: VecDeque::new(),
            deliver: Some(Box::new(deliver)),
            armed: false,
            due: false,
            rests: false,
            closed: false,
            abandoned: false,
        };
        let gatherer = Gatherer {
            plan: self,
            gathered: Mutex::new(gathered),
        };
        Ok(Batch(Arc::new(Owner(Arc::new(gatherer)))))
    }
}

/// Gathers items, and gives them away by the batch: when there are enough, or when the first has waited long
/// enough, whichever comes first.
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use netwheel::{Batch, Client, Pipeline, TrySendError, codec::LengthField, sim::World};
///
/// let world = World::new(1); // or a reactor
/// let client = Client::on(&world)
///     .on_demand(Duration::from_secs(60))
///     .pipeline(|| Pipeline::new(LengthField::u32()).handle(|_, _answer| Ok(())))
///     .connect("10.0.0.1:7001")?;
/// let batch = Batch::on(&world)
///     .items_max(100)
///     .delay_max(Duration::from_millis(20))
///     .start(move |lines: Vec<String>| {
///         client.try_send(Bytes::from(lines.join("\n"))).map_err(|_| lines)
///     })?;
/// batch.push("one of a hundred".to_owned())?;
/// batch.flush(); // not waiting for the others
/// # Ok::<(), netwheel::Failure>(())
/// ```
///
/// A clone is the same batch; the last of them closes it.
///
/// Threads: any. Cost: a lock an item, and a task of the network a batch. Limit:
/// [`waiting_max`](BatchBuilder::waiting_max) items.
pub struct Batch<T: Send + 'static>(Arc<Owner<T>>);

/// Closes the batch when the last handle goes: a task of the network may hold it too.
struct Owner<T: Send + 'static>(Arc<Gatherer<T>>);

struct Gatherer<T> {
    plan: BatchBuilder,
    gathered: Mutex<Gathered<T>>,
}

struct Gathered<T> {
    items: VecDeque<T>,
    /// Absent while it is called, and after a panic.
    deliver: Option<Deliver<T>>,
    /// Whether a task is on its way.
    armed: bool,
    /// All that waits is to be given away, however few that are.
    due: bool,
    /// A batch came back; nothing is tried until the delay has passed.
    rests: bool,
    closed: bool,
    /// Closed while another thread gave away what it had: nobody takes the rest.
    abandoned: bool,
}

impl<T> Gathered<T> {
    /// Takes the next batch, if there is one to be given away and nobody is at it.
    fn take(&mut self, items_max: usize) -> Option<(Deliver<T>, Vec<T>)> {
        if self.items.is_empty() {
            self.due = false;
        }
        let full = self.items.len() >= items_max;
        if self.rests || !(full || self.due) {
            return None;
        }
        let deliver = self.deliver.take()?;
        let count = self.items.len().min(items_max);
        Some((deliver, self.items.drain(..count).collect()))
    }

    /// Puts a batch back that nobody had room for.
    fn put_back(&mut self, items: Vec<T>) {
        for item in items.into_iter().rev() {
            self.items.push_front(item);
        }
        self.rests = true;
    }
}

impl<T: Send + 'static> Gatherer<T> {
    fn push(self: &Arc<Self>, item: T) -> Result<(), TrySendError<T>> {
        {
            let mut gathered = lock(&self.gathered);
            if gathered.closed {
                return Err(TrySendError::Closed(item));
            }
            if gathered.items.len() >= self.plan.waiting_max {
                return Err(TrySendError::Full(item));
            }
            gathered.items.push_back(item);
        }
        self.give_away();
        Ok(())
    }

    /// Gives away what is full or due, and sees to it that the rest will be.
    fn give_away(self: &Arc<Self>) {
        loop {
            let taken = lock(&self.gathered).take(self.plan.items_max);
            let Some((mut deliver, items)) = taken else {
                return self.leave();
            };
            let outcome = contain(|| deliver(items));
            let mut gathered = lock(&self.gathered);
            match outcome {
                Ok(delivered) => {
                    gathered.deliver = Some(deliver);
                    if let Err(items) = delivered {
                        gathered.put_back(items);
                    }
                }
                Err(_) => {
                    error!(target: "netwheel::client", "a batch's delivery panicked; it takes no more");
                    gathered.closed = true;
                    let lost = std::mem::take(&mut gathered.items);
                    drop(gathered);
                    let _ = contain(|| drop((lost, deliver)));
                    return;
                }
            }
        }
    }

    /// Comes back after the delay, if anything waits.
    fn leave(self: &Arc<Self>) {
        let lost = {
            let mut gathered = lock(&self.gathered);
            if gathered.items.is_empty() || gathered.deliver.is_none() {
                return;
            }
            if gathered.closed {
                let abandoned = gathered.abandoned;
                abandoned.then(|| std::mem::take(&mut gathered.items))
            } else if gathered.armed {
                return;
            } else {
                gathered.armed = true;
                drop(gathered);
                return self.arm();
            }
        };
        note_lost(lost.map_or(0, |lost| lost.len()));
    }

    fn arm(self: &Arc<Self>) {
        let gatherer = Arc::clone(self);
        let ring = Box::new(move || gatherer.ring());
        let network = self.plan.net.network();
        if let Err((error, _)) = network.schedule(self.plan.delay_max, ring) {
            // What is full still leaves, and what is flushed or closed.
            warn!(target: "netwheel::client", "a batch waits until it is full: {error}");
            lock(&self.gathered).armed = false;
        }
    }

    fn ring(self: &Arc<Self>) {
        {
            let mut gathered = lock(&self.gathered);
            (gathered.armed, gathered.rests, gathered.due) = (false, false, true);
        }
        self.give_away();
    }

    fn flush(self: &Arc<Self>) {
        lock(&self.gathered).due = true;
        self.give_away();
    }

    fn close(self: &Arc<Self>) -> Vec<T> {
        {
            let mut gathered = lock(&self.gathered);
            gathered.closed = true;
            (gathered.rests, gathered.due) = (false, true);
        }
        self.give_away();
        let mut gathered = lock(&self.gathered);
        if gathered.deliver.is_none() {
            // Another thread gives it away at this moment, to the last.
            gathered.abandoned = true;
            return Vec::new();
        }
        let left = std::mem::take(&mut gathered.items);
        left.into()
    }
}

impl<T: Send + 'static> Drop for Owner<T> {
    fn drop(&mut self) {
        note_lost(self.0.close().len());
    }
}

fn note_lost(count: usize) {
    if count > 0 {
        warn!(target: "netwheel::client", "{count} items of a batch found no room and are lost");
    }
}

impl Batch<()> {
    /// Begins to say how items are gathered; the network tells the time.
    #[must_use]
    pub fn on(net: &impl AsRef<Net>) -> BatchBuilder {
        BatchBuilder {
            net: net.as_ref().clone(),
            items_max: BATCH_ITEMS_MAX,
            delay_max: BATCH_DELAY_MAX,
            waiting_max: BATCH_WAITING_MAX,
        }
    }
}

impl<T: Send + 'static> Batch<T> {
    /// Adds an item; the one that makes a batch full gives it away before the return.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] when too many wait, as batches came back, [`TrySendError::Closed`] after the
    /// close. Both give `item` back.
    pub fn push(&self, item: T) -> Result<(), TrySendError<T>> {
        self.0.0.push(item)
    }

    /// Gives away what was gathered so far, unless a batch has just come back.
    pub fn flush(&self) {
        self.0.0.flush();
    }

    /// Items that wait. A snapshot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.0.0.gathered).items.len()
    }

    /// Gives away what was gathered, and takes no more. Answers what nobody had room for.
    pub fn close(&self) -> Vec<T> {
        self.0.0.close()
    }
}

impl<T: Send + 'static> Clone for Batch<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
