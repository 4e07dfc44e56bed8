//! Many at once: scenario 73.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use chat::store::MemoryStore;
use netwheel::Clock;

use crate::peer::{Peer, WINDOWS};
use crate::{Everybody, options, serve_with};

/// The slowest of a hundred echoes, by percentile 99: the second slowest.
fn slow_echo(peer: &mut Peer) -> Duration {
    let clock = Clock::system();
    let mut times: Vec<_> = (0..100)
        .map(|_| {
            let start = clock.now();
            peer.hears_nothing();
            clock.now().since(start)
        })
        .collect();
    times.sort_unstable();
    times[98]
}

#[test]
fn logins_that_take_long_do_not_hold_up_who_is_logged_in() {
    const LOGINS: usize = 500;
    let mut options = options();
    // Whoever waits for its turn must not be taken for silent.
    options.login_timeout = Duration::from_secs(60);
    options.login_threads = 32;
    let users = Everybody {
        check: Duration::from_millis(100),
    };
    let server = serve_with(options, users, Arc::new(MemoryStore::default()));
    let server = Arc::new(server);
    let mut peer = Peer::log_in(&server, "u1", WINDOWS);
    let control = slow_echo(&mut peer);
    let others = Arc::clone(&server);
    let crowd = thread::spawn(move || {
        let mut crowd: Vec<_> = (0..LOGINS).map(|_| Peer::connect(&others)).collect();
        for (nth, one) in crowd.iter_mut().enumerate() {
            one.send_login(&format!("crowd-{nth}"), WINDOWS, "pw");
        }
        let codes = crowd.iter_mut().map(|one| {
            let answer = one.receive().login_response.expect("of its type");
            answer.code
        });
        codes.filter(|code| *code == 0).count()
    });
    let mut slowest = Duration::ZERO;
    while !crowd.is_finished() {
        slowest = slowest.max(slow_echo(&mut peer));
    }
    assert_eq!(crowd.join().expect("no panic"), LOGINS);
    // A check on an I/O thread would cost its whole 100 ms.
    let bound = Duration::from_millis(50).max(control * 20);
    assert!(slowest < bound, "{slowest:?} instead of {control:?}");
}
