//! Many at once: scenario 73.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use chat::store::MemoryStore;
use netwheel::Clock;

use crate::peer::{Peer, WINDOWS};
use crate::{Everybody, options, serve_with};

/// The times of a hundred echoes.
fn echoes(peer: &mut Peer, times: &mut Vec<Duration>) {
    let clock = Clock::system();
    for _ in 0..100 {
        let start = clock.now();
        peer.hears_nothing();
        times.push(clock.now().since(start));
    }
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
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
    let mut alone = Vec::new();
    echoes(&mut peer, &mut alone);
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
    let mut beside = Vec::new();
    while !crowd.is_finished() {
        echoes(&mut peer, &mut beside);
    }
    assert_eq!(crowd.join().expect("no panic"), LOGINS);
    let (control, beside) = (p99(&mut alone), p99(&mut beside));
    // A check on an I/O thread would cost its whole 100 ms; a slow machine is slow without the crowd, too.
    let bound = Duration::from_millis(10).max(control * 20);
    assert!(beside < bound, "{beside:?} instead of {control:?}");
}
