//! What is asked is answered, or the connection ends: nobody waits for an answer that is gone.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use chat::service::Service;
use netwheel::limits::ConnectionLimits;
use netwheel::{RunningServer, Server};
use serde_json::json;

use crate::peer::{Peer, WINDOWS};
use crate::stores::{Fragile, Mood};
use crate::{Everybody, eventually, options};

/// A server on a store that holds little for each connection.
fn serve_narrow(store: Arc<Fragile>) -> RunningServer {
    let users = Everybody {
        check: Duration::ZERO,
    };
    let service = Service::own(store, Arc::new(users), options()).expect("a new store");
    let mut limits = ConnectionLimits::default();
    (limits.low_water_bytes, limits.high_water_bytes) = (1000, 2000);
    limits.output_bytes_max = 8000;
    let server = service.on(Server::new().workers(1).limits(limits));
    let server = server.listen("127.0.0.1:0").expect("a free port");
    server.start().expect("threads")
}

#[test]
fn who_does_not_take_its_answers_is_closed() {
    const ASKED: usize = 200;
    let store = Arc::new(Fragile::default());
    let server = serve_narrow(Arc::clone(&store));
    let name = |nth: usize| format!("{nth:02}{}", "x".repeat(60));
    let _crowd: Vec<_> = (0..20)
        .map(|nth| Peer::log_in(&server, &name(nth), WINDOWS))
        .collect();
    let mut peer = Peer::log_in(&server, "ann", WINDOWS);
    store.is(Mood::Slow);
    for _ in 0..ASKED {
        peer.command(&json!({ "cmd": "who" }));
    }
    eventually("all of it is read", || {
        server.stats().messages_in >= 21 + ASKED as u64
    });
    store.is(Mood::Well);
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let mut answers = 0;
    while answers < ASKED {
        match peer.stream.read(&mut piece) {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("{answers} answers of {ASKED}, and the connection lives")
            }
            _ => break,
        }
        while bytes.len() >= 8 {
            let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let end = 8 + usize::try_from(length).expect("short");
            if bytes.len() < end {
                break;
            }
            bytes.drain(..end);
            answers += 1;
        }
    }
    let all = answers == ASKED;
    eventually("it is closed", || all || server.stats().closed == 1);
}
