//! Who is logged in on a connection, as connection and office know it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use netwheel::{CloseReason, ConnectionHandle};

use super::{Office, Order, WeakOffice};
use crate::lock;
use crate::protocol::Packet;

/// Acknowledgements that wait for the office, for each visitor.
const ACKNOWLEDGED_MAX: usize = 64;

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
            parked: AtomicBool::new(false),
            office: office.downgrade(),
        })
    }

    /// Sends a packet; what does not fit is the receiver's own fault, and lost.
    pub(super) fn send(&self, packet: Packet) -> bool {
        self.handle.try_send(packet).is_ok()
    }

    /// Sends a packet, and has the office look at the visitor once it has left.
    pub(super) fn send_and_look(visitor: &Arc<Self>, packet: Packet) -> bool {
        let waiting = Arc::clone(visitor);
        let look = move |left: Result<(), CloseReason>| {
            if left.is_ok() {
                Self::ask_for_a_look(&waiting);
            }
        };
        visitor.handle.try_send_then(packet, look).is_ok()
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
