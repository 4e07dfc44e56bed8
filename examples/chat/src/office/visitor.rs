//! Who is logged in on a connection, as connection and office know it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use log::warn;
use netwheel::{CloseReason, ConnectionHandle, TrySendError};

use super::refused::Refused;
use super::{Office, Order, WeakOffice};
use crate::limits::PARKED_BYTES_MAX;
use crate::lock;
use crate::protocol::Packet;

/// Acknowledgements that wait for the office, for each visitor.
const ACKNOWLEDGED_MAX: usize = 64;

/// With more than so many bytes on the way, the office is told when they have left.
const RESUMED_BYTES: usize = PARKED_BYTES_MAX / 8;

/// A user on a platform: what may be logged in once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// The user.
    pub uid: Arc<str>,
    /// 0 windows, 1 mac, 2 android, 3 ios, 4 web, 5 other.
    pub platform: u8,
}

impl Device {
    /// The highest number of a platform: "other", which stands for those that are not known.
    pub const OTHER: u8 = 5;

    /// A device; platforms that are not known are "other".
    #[must_use]
    pub fn new(uid: &str, platform: u32) -> Self {
        Self {
            uid: uid.into(),
            platform: u8::try_from(platform).map_or(Self::OTHER, |known| known.min(Self::OTHER)),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 6] = ["windows", "mac", "android", "ios", "web", "other"];
        let name = NAMES[usize::from(self.platform.min(Self::OTHER))];
        write!(f, "{} ({name})", self.uid)
    }
}

/// A session, for its connection and the office.
#[derive(Debug)]
pub struct Visitor {
    /// Who.
    pub device: Device,
    /// Where.
    pub handle: ConnectionHandle<Packet>,
    /// Orders of it on the desk.
    waiting: AtomicUsize,
    /// Deliveries that it has acknowledged, of which the office has not heard; a few.
    acknowledged: Mutex<Vec<u64>>,
    /// Whether the office will look at that anyway.
    told: AtomicBool,
    /// What it has said and is to say again.
    refused: Mutex<Refused>,
    /// Deliveries on their way of which the office is told when they have left.
    watched: AtomicUsize,
    /// Whether messages wait for it in the store.
    parked: AtomicBool,
    /// Weak, because the office knows its visitors.
    office: WeakOffice,
}

impl Visitor {
    /// One who has just come.
    #[must_use]
    pub fn new(office: &Office, device: Device, handle: ConnectionHandle<Packet>) -> Arc<Self> {
        Arc::new(Self {
            device,
            handle,
            waiting: AtomicUsize::new(0),
            acknowledged: Mutex::default(),
            told: AtomicBool::new(false),
            refused: Mutex::default(),
            watched: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            office: office.downgrade(),
        })
    }

    /// Sends an answer. Who does not take it is closed, comes back and asks again: nobody is to wait for an answer
    /// that is gone.
    pub(super) fn send(&self, packet: Packet) {
        if let Err(TrySendError::Full(_)) = self.handle.try_send(packet) {
            warn!("{} is closed: it does not read its answers", self.device);
            self.handle.close();
        }
    }

    /// Sends what nobody waits for, if there is room.
    pub(super) fn offer(&self, packet: Packet) {
        let _ = self.handle.try_send(packet);
    }

    /// Sends a message that is in the store, unless it had better wait there; it does where the answer is `false`,
    /// until the office looks at the visitor again.
    pub(super) fn deliver(visitor: &Arc<Self>, packet: &Packet) -> bool {
        let ahead = visitor.handle.queued_bytes() + packet.0.len();
        if ahead > PARKED_BYTES_MAX && visitor.is_watched() {
            return false;
        }
        // The next one may find no room: the office hears of it as soon as there is.
        match ahead > RESUMED_BYTES {
            true => Self::send_and_look(visitor, packet.clone()),
            false => visitor.handle.try_send(packet.clone()).is_ok(),
        }
    }

    /// Sends a packet, and has the office look at the visitor once it has left.
    fn send_and_look(visitor: &Arc<Self>, packet: Packet) -> bool {
        visitor.watched.fetch_add(1, Ordering::SeqCst);
        let waiting = Arc::clone(visitor);
        let look = move |left: Result<(), CloseReason>| {
            waiting.watched.fetch_sub(1, Ordering::SeqCst);
            if left.is_ok() {
                Self::ask_for_a_look(&waiting);
            }
        };
        let sent = visitor.handle.try_send_then(packet, look).is_ok();
        if !sent {
            visitor.watched.fetch_sub(1, Ordering::SeqCst);
        }
        sent
    }

    /// Whether much of what was delivered is still on its way; the office looks at the visitor when it has left.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::SeqCst) > 0
    }

    /// Whether something that it says has to wait for what was refused before. A message without a number cannot be
    /// said again, so it has no order either; here and below.
    pub(super) fn is_before(&self, to: &str, number: u64) -> bool {
        number != 0 && lock(&self.refused).is_before(to, number)
    }

    /// What it has said is refused, and to come again before what is said later.
    pub(super) fn refuse(&self, to: &str, number: u64) {
        if number != 0 && !lock(&self.refused).add(to, number) {
            warn!(
                "{} is closed: too much of what it says is refused",
                self.device
            );
            self.handle.close();
        }
    }

    /// What it has said is kept, or never will be: what was refused behind it may come again.
    pub(crate) fn settle(&self, to: &str, number: u64) {
        if number != 0 {
            lock(&self.refused).remove(to, number);
        }
    }

    /// A delivery was acknowledged, and with it what came before it on the connection.
    pub fn acknowledge(visitor: &Arc<Self>, id: u64) {
        let mut acknowledged = lock(&visitor.acknowledged);
        if acknowledged.len() >= ACKNOWLEDGED_MAX {
            // The next one stands for it.
            acknowledged.remove(0);
        }
        acknowledged.push(id);
        drop(acknowledged);
        Self::ask_for_a_look(visitor);
    }

    /// The connection has room, or its client lives: what waits for that may go on.
    pub fn go_on(visitor: &Arc<Self>) {
        if visitor.parked.load(Ordering::Acquire) {
            Self::ask_for_a_look(visitor);
        }
    }

    /// Has the office look at the visitor, once for all that happens until it does.
    fn ask_for_a_look(visitor: &Arc<Self>) {
        if !visitor.told.swap(true, Ordering::SeqCst)
            && let Some(office) = visitor.office.upgrade()
        {
            office.tell(Order::Look(Arc::clone(visitor)));
        }
    }

    /// What was acknowledged; what is from now on will be told of anew.
    pub(super) fn take_acknowledged(&self) -> Vec<u64> {
        self.told.store(false, Ordering::SeqCst);
        std::mem::take(&mut *lock(&self.acknowledged))
    }

    pub(super) fn park(&self, parked: bool) {
        self.parked.store(parked, Ordering::Release);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn count_in(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_out(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use netwheel::sim::World;

    use super::*;
    use crate::office::tests::visitor;

    fn packet(bytes: usize) -> Packet {
        Packet(vec![0; bytes].into())
    }

    #[test]
    fn a_message_waits_only_where_somebody_will_look_at_it_again() {
        let world = World::new(1);
        let (visitor, _server) = visitor(&world, "10.0.0.1:7000");
        // Something else, of whose leaving nobody is told.
        visitor.offer(packet(PARKED_BYTES_MAX + 1));
        assert!(!visitor.is_watched());
        assert!(Visitor::deliver(&visitor, &packet(1)));
        assert!(visitor.is_watched());
        assert!(!Visitor::deliver(&visitor, &packet(1)));
    }

    #[test]
    fn few_messages_leave_without_a_look_and_a_large_one_alone() {
        let world = World::new(1);
        let (visitor, _server) = visitor(&world, "10.0.0.1:7000");
        assert!(Visitor::deliver(&visitor, &packet(100)));
        assert!(!visitor.is_watched());
        assert!(Visitor::deliver(&visitor, &packet(PARKED_BYTES_MAX * 2)));
        assert!(visitor.is_watched());
        assert!(!Visitor::deliver(&visitor, &packet(1)));
    }
}
