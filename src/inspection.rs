//! The connections that live at a moment, told on demand.
//!
//! ```text
//!   any thread: Inquiry ──> [ desk of each worker ] ──> worker: some slots a turn ──┐
//!   whoever asked <── the whole list, once the last worker lets go of the inquiry <─┘
//! ```
//! Nothing is kept for it while nobody asks. An inquiry is answered when it is dropped, by whichever thread
//! does so, so it is answered exactly once, also where a worker ends with it on its desk.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use log::error;

use crate::address::Address;
use crate::error::{Error, ErrorKind};
use crate::id::ConnectionId;
use crate::json::Json;
use crate::limits::INQUIRIES_MAX;
use crate::panics::contain;
use crate::sync::lock;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionPhase {
    /// It is being dialled.
    Connecting,
    /// It is not open to its stages and handler yet: its filters, such as TLS, shake hands.
    Opening,
    /// Messages may pass.
    Open,
    /// It ends once everything has been answered and has left.
    Closing,
    /// Its handler has been told of the end; it waits for the peer's FIN.
    Lingering,
}

impl ConnectionPhase {
    /// The phase's name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Lingering => "lingering",
        }
    }
}

impl fmt::Display for ConnectionPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of one connection at the moment at which its worker was asked; see
/// [`Reactor::connections`](crate::Reactor::connections).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its name in logs.
    pub id: ConnectionId,
    /// The other side.
    pub peer: Address,
    /// This side: of an accepted connection the listener's address, which tells its server.
    pub local: Address,
    /// Whether a server of ours accepted it; else a client of ours dialled it.
    pub accepted: bool,
    /// How far it has come.
    pub phase: ConnectionPhase,
    /// Since it is established, to a tenth of a second.
    pub age: Duration,
    /// How long nothing has arrived; none of it counts while our side does not read.
    pub read_silence: Duration,
    /// How long nothing has left.
    pub write_silence: Duration,
    /// Bytes encoded that wait to leave.
    pub bytes_queued: usize,
    /// Bytes that have arrived and are no whole frame yet, or wait for a pause to end.
    pub bytes_undecoded: usize,
    /// Bytes that have left over its life.
    pub bytes_sent: u64,
    /// Why it is not read at the moment; empty where it is. Of `user`, `output`, `lane`, `jobs`, `shaped`.
    pub pauses: Vec<&'static str>,
    /// Its stages by name, the outermost first.
    pub stages: Vec<&'static str>,
}

impl ConnectionInfo {
    /// The connection as an object of JSON; times are in milliseconds.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        self.write(&mut json);
        json.into_text()
    }

    fn write(&self, json: &mut Json) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let names = |json: &mut Json, names: &[&str]| {
            json.array(|json| names.iter().for_each(|name| json.string(name)));
        };
        json.object(|json| {
            json.key("id").string(self.id);
            json.key("peer").string(self.peer);
            json.key("local").string(self.local);
            json.key("accepted").bool(self.accepted);
            json.key("phase").string(self.phase);
            json.key("age_ms").number(millis(self.age));
            json.key("read_silence_ms")
                .number(millis(self.read_silence));
            json.key("write_silence_ms")
                .number(millis(self.write_silence));
            json.key("bytes_queued").number(self.bytes_queued as u64);
            json.key("bytes_undecoded")
                .number(self.bytes_undecoded as u64);
            json.key("bytes_sent").number(self.bytes_sent);
            names(json.key("pauses"), &self.pauses);
            names(json.key("stages"), &self.stages);
        });
    }
}

/// What an inquiry has found.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// By worker and slot; not more than were asked for.
    pub(crate) connections: Vec<ConnectionInfo>,
    /// How many there were.
    pub(crate) total: usize,
}

#[cfg(feature = "admin")]
impl Listing {
    pub(crate) fn to_json(&self) -> String {
        let mut json = Json::default();
        json.object(|json| {
            json.key("total").number(self.total as u64);
            json.key("connections").array(|json| {
                for connection in &self.connections {
                    connection.write(json);
                }
            });
        });
        json.into_text()
    }
}

type Done = Box<dyn FnOnce(Listing) + Send + Sync>;

/// Somebody who wants to know which connections there are.
pub(crate) struct Inquiry {
    /// So many are described, and the others only counted.
    described_max: usize,
    found: Mutex<Listing>,
    abandoned: AtomicBool,
    done: Option<Done>,
}

impl Inquiry {
    /// An inquiry that ends with a call of `done`, on some thread.
    pub(crate) fn new(
        described_max: usize,
        done: impl FnOnce(Listing) + Send + Sync + 'static,
    ) -> Self {
        Self {
            described_max,
            found: Mutex::default(),
            abandoned: AtomicBool::new(false),
            done: Some(Box::new(done)),
        }
    }

    /// Puts it on these desks, and tells their workers by `tell`.
    ///
    /// # Errors
    ///
    /// When a desk is full, or its worker has ended; `done` is called all the same, with an incomplete list.
    pub(crate) fn spread(self, desks: &[&Desk], tell: impl FnOnce()) -> Result<Weak<Self>, Error> {
        let shared = Arc::new(self);
        for desk in desks {
            desk.put(&shared)
                .inspect_err(|_| shared.abandoned.store(true, Ordering::Relaxed))?;
        }
        tell();
        Ok(Arc::downgrade(&shared))
    }

    /// Nobody waits for it any more.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Adds some connections, `describe`d as long as they are wanted.
    pub(crate) fn add<T>(
        &self,
        connections: impl Iterator<Item = T>,
        describe: impl Fn(T) -> ConnectionInfo,
    ) {
        // Described without the lock: other workers add theirs meanwhile.
        let room = self.described_max - lock(&self.found).connections.len();
        let mut connections = connections;
        let described: Vec<_> = connections.by_ref().take(room).map(describe).collect();
        let others = connections.count();
        let mut found = lock(&self.found);
        found.total += described.len() + others;
        let room = self.described_max - found.connections.len();
        found.connections.extend(described.into_iter().take(room));
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        let mut found = std::mem::take(&mut *lock(&self.found));
        found.connections.sort_by_key(|connection| connection.id);
        let done = self.done.take();
        if contain(|| done.map(|done| done(found))).is_err() {
            error!(target: "netwheel::worker", "whoever asked for the connections panicked");
        }
    }
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inquiry")
    }
}

/// Where inquiries wait for one worker.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    inquiries: VecDeque<Arc<Inquiry>>,
    closed: bool,
}

impl Desk {
    fn put(&self, inquiry: &Arc<Inquiry>) -> Result<(), Error> {
        let mut waiting = lock(&self.0);
        if waiting.closed {
            return Err(Error::new(
                ErrorKind::Closed,
                "the network has been shut down",
            ));
        }
        waiting.inquiries.retain(|other| !other.is_abandoned());
        if waiting.inquiries.len() >= INQUIRIES_MAX {
            let text =
                format!("{INQUIRIES_MAX} others wait for the list of connections; ask again later");
            return Err(Error::new(ErrorKind::OverLimit, text));
        }
        waiting.inquiries.push_back(Arc::clone(inquiry));
        Ok(())
    }

    /// The next that somebody waits for. Worker only.
    pub(crate) fn take(&self) -> Option<Arc<Inquiry>> {
        lock(&self.0).inquiries.pop_front()
    }

    /// The worker ends: what waits is answered without it, and no more is taken.
    pub(crate) fn close(&self) {
        let mut waiting = lock(&self.0);
        waiting.closed = true;
        let left = std::mem::take(&mut waiting.inquiries);
        // Dropped without the lock: what is answered may ask again.
        drop(waiting);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::id::Key;

    fn info(worker: u16, slot: u32) -> ConnectionInfo {
        let key = Key {
            slot,
            generation: 0,
        };
        ConnectionInfo {
            id: ConnectionId::new(worker, key),
            peer: Address::Unix,
            local: Address::Unix,
            accepted: true,
            phase: ConnectionPhase::Open,
            age: Duration::from_secs(61),
            read_silence: Duration::ZERO,
            write_silence: Duration::ZERO,
            bytes_queued: 1,
            bytes_undecoded: 2,
            bytes_sent: 3,
            pauses: vec!["user"],
            stages: vec!["a \"quoted\" stage"],
        }
    }

    fn inquiry(described_max: usize) -> (Inquiry, Receiver<Listing>) {
        let (answer, answers) = channel();
        let answer = Mutex::new(answer);
        let done = move |listing| drop(lock(&answer).send(listing));
        (Inquiry::new(described_max, done), answers)
    }

    fn answer(answers: &Receiver<Listing>) -> (Vec<String>, usize) {
        let listing = answers.try_recv().expect("an answer");
        assert!(answers.try_recv().is_err(), "one answer");
        let ids = listing.connections.iter().map(|info| info.id.to_string());
        (ids.collect(), listing.total)
    }

    #[test]
    fn the_answer_comes_when_the_last_worker_has_added_its_part() {
        let (desks, (inquiry, answers)) = ([Desk::default(), Desk::default()], inquiry(10));
        let asked = inquiry
            .spread(&[&desks[0], &desks[1]], || ())
            .expect("room");
        for (worker, desk) in [(1, &desks[1]), (0, &desks[0])] {
            assert!(answers.try_recv().is_err());
            let inquiry = desk.take().expect("an inquiry");
            inquiry.add([0, 1].into_iter(), |slot| info(worker, slot));
        }
        let ids = ["w0:0.0", "w0:1.0", "w1:0.0", "w1:1.0"].map(String::from);
        assert_eq!(answer(&answers), (ids.to_vec(), 4));
        assert!(asked.upgrade().is_none());
    }

    #[test]
    fn no_more_are_described_than_asked_for_and_all_are_counted() {
        let (desk, (inquiry, answers)) = (Desk::default(), inquiry(3));
        inquiry.spread(&[&desk], || ()).expect("room");
        let inquiry = desk.take().expect("an inquiry");
        inquiry.add(0..2, |slot| info(0, slot));
        inquiry.add(2..9, |slot| info(0, slot));
        drop(inquiry);
        let (ids, total) = answer(&answers);
        assert_eq!((ids.len(), total), (3, 9));
    }

    #[test]
    fn a_full_desk_refuses_and_a_closed_one_answers_what_waited() {
        let desk = Desk::default();
        let mut waiting = Vec::new();
        for _ in 0..INQUIRIES_MAX {
            let (inquiry, answers) = inquiry(1);
            let asked = inquiry.spread(&[&desk], || ()).expect("room");
            waiting.push((asked, answers));
        }
        let refused = inquiry(1).0.spread(&[&desk], || ());
        assert_eq!(refused.expect_err("full").kind(), ErrorKind::OverLimit);
        // Whom nobody waits for makes room.
        waiting[0].0.upgrade().expect("it waits").abandon();
        assert!(inquiry(1).0.spread(&[&desk], || ()).is_ok());
        desk.close();
        assert!(waiting.iter().all(|(_, answers)| answer(answers).1 == 0));
        let refused = inquiry(1).0.spread(&[&desk], || ());
        assert_eq!(refused.expect_err("closed").kind(), ErrorKind::Closed);
    }

    #[test]
    fn a_connection_is_told_as_json() {
        let read: serde_json::Value =
            serde_json::from_str(&info(2, 7).to_json()).expect("it is JSON");
        assert_eq!(read["id"], "w2:7.0");
        assert_eq!(read["age_ms"], 61_000);
        assert_eq!(read["pauses"], serde_json::json!(["user"]));
        assert_eq!(read["stages"][0], "a \"quoted\" stage");
    }
}
