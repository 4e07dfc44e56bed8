//! The timers of a busy service on netwheel's wheel and on what others use.
//!
//! A library by itself: netwheel does not show its wheel, so it is compiled from its own file here, without
//! the tests that belong to it.

#[path = "../../micro/internal.rs"]
mod internal;
#[path = "../../micro/random.rs"]
mod random;
#[allow(dead_code, reason = "the micro benches use all of it")]
#[path = "../../micro/timers.rs"]
mod timers;

// The included files know these by the names that they have in the library.
use internal::{clock, id, planted, sync};
use timers::{Heap, OurWheel, Service, Timers, Tree};

/// Something that keeps timers.
#[derive(Debug, Clone, Copy)]
pub struct Structure {
    pub name: &'static str,
    pub about: &'static str,
    /// Starts a service that has had so many timers armed for a minute.
    pub start: fn(usize) -> Steps,
}

/// Each call ends [`TIMERS_PER_STEP`] timers, and arms as many.
pub type Steps = Box<dyn FnMut()>;

pub const TIMERS_PER_STEP: usize = timers::PER_STEP;

/// All of them; the first is what the others are compared with.
pub const STRUCTURES: [Structure; 3] = [
    Structure {
        name: "heap",
        about: "std's BinaryHeap; cancelled timers stay in it until they come up",
        start: start::<Heap>,
    },
    Structure {
        name: "wheel",
        about: "netwheel's hierarchical wheel",
        start: start::<OurWheel>,
    },
    Structure {
        name: "tree",
        about: "std's BTreeMap by deadline",
        start: start::<Tree>,
    },
];

fn start<T: Timers + 'static>(count: usize) -> Steps {
    let mut service = Service::<T>::new(count);
    Box::new(move || service.step())
}
