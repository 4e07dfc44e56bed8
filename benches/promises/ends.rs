//! Ends and new beginnings: shutdown under load, kill, the same port again, and clients that come back.

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use netwheel::codec::LengthField;
use netwheel::{Backoff, Client, ClientState, Pipeline, Reactor};

use crate::child::Server;
use crate::latency::{PATIENCE, Shown, ask, connect, stop_reading};
use crate::promise::{Outcome, Promise, Ran, Scale};

pub(crate) fn promises() -> Vec<Promise> {
    vec![
        Promise {
            name: "shutdown-under-load",
            says: "SIGTERM under load: newcomers refused, everything asked before answered, over by the deadline + 100 ms, exit 0",
            run: shutdown_under_load,
        },
        Promise {
            name: "shutdown-deadline",
            says: "a shutdown that a peer holds up is over by its deadline + 100 ms",
            run: shutdown_deadline,
        },
        Promise {
            name: "same-port-again",
            says: "a server starts on the same port within a second, after a shutdown and after kill -9",
            run: same_port_again,
        },
        Promise {
            name: "clients-come-back",
            says: "after kill -9, 1,000 clients are back within 5 intervals, and none tries twice within one",
            run: clients_come_back,
        },
        Promise {
            name: "links-come-back",
            says: "the same for links of the stack: after kill -9, 1,000 nodes are logged in again within 5 intervals",
            run: links_come_back,
        },
    ]
}

fn shutdown_under_load(scale: Scale) -> Ran {
    const DEADLINE: Duration = Duration::from_secs(5);
    let mut server = Server::start(&["--workers", "2"])?;
    let address = server.address;
    let over = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|n| {
            let over = Arc::clone(&over);
            thread::spawn(move || asks_until_the_end(address, n, &over))
        })
        .collect();
    thread::sleep(scale.of(Duration::from_millis(300), Duration::from_secs(2)));
    let start = Instant::now();
    server.signal("TERM")?;
    let status = server.wait()?;
    let took = start.elapsed();
    let refused = TcpStream::connect(address)
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    over.store(true, Ordering::Relaxed);
    let (mut answered, mut halves) = (0, 0);
    for thread in load {
        let (whole, half) = thread.join().map_err(|_| "a client panicked")?;
        answered += whole;
        halves += half;
    }
    Ok(Outcome::of(
        status.success() && refused && halves == 0 && took <= DEADLINE + Duration::from_millis(100),
        format!(
            "over after {} of at most {}, {status}; {answered} answered, {halves} broken answers",
            Shown(took),
            Shown(DEADLINE)
        ),
    ))
}

/// Asks until the server has gone; how many answers came whole, and how many in part.
fn asks_until_the_end(address: SocketAddr, n: usize, over: &AtomicBool) -> (u64, u64) {
    use std::io::Read;
    let Ok(mut socket) = connect(address, n) else {
        return (0, 0);
    };
    let mut answered = 0;
    while !over.load(Ordering::Relaxed) {
        if socket.write_all(b"\0\0\0\x08ping1234").is_err() {
            return (answered, 0);
        }
        let (mut answer, mut there) = ([0; 12], 0);
        while there < answer.len() {
            match socket.read(&mut answer[there..]) {
                Ok(0) | Err(_) => return (answered, u64::from(there > 0)),
                Ok(count) => there += count,
            }
        }
        answered += 1;
    }
    (answered, 0)
}

fn shutdown_deadline(_: Scale) -> Ran {
    const DEADLINE: Duration = Duration::from_millis(500);
    let mut server = Server::start(&["--drain", "500"])?;
    let mut stopped = connect(server.address, 0)?;
    stop_reading(&mut stopped)?;
    let start = Instant::now();
    server.signal("TERM")?;
    let status = server.wait()?;
    let took = start.elapsed();
    Ok(Outcome::of(
        took >= DEADLINE
            && took <= DEADLINE + Duration::from_millis(100)
            && status.code() == Some(1),
        format!("over after {} of {}", Shown(took), Shown(DEADLINE)),
    ))
}

fn same_port_again(_: Scale) -> Ran {
    let mut server = Server::start(&[])?;
    let (address, mut slowest) = (server.address, Duration::ZERO);
    for end in ["TERM", "KILL", "KILL"] {
        // They leave the address in TIME_WAIT, or with unread bytes.
        let mut there = (0..20)
            .map(|n| connect(address, n))
            .collect::<Result<Vec<_>, _>>()?;
        there.iter_mut().try_for_each(ask)?;
        server.signal(end)?;
        server.wait()?;
        let start = Instant::now();
        server = Server::start(&["--listen", &address.to_string()])?;
        ask(&mut connect(address, 0)?)?;
        slowest = slowest.max(start.elapsed());
    }
    Ok(Outcome::of(
        slowest <= Duration::from_secs(1),
        format!("answered again after {} at most", Shown(slowest)),
    ))
}

/// When a client began a try, and whether it is up.
#[derive(Default)]
pub(crate) struct Tries {
    pub(crate) began: Vec<Instant>,
    pub(crate) up: bool,
}

/// The time before each try.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

fn clients_come_back(scale: Scale) -> Ran {
    come_back(scale, &[], |reactor, address, _, seen| {
        let client = Client::on(reactor)
            .reconnect(Backoff::every(INTERVAL))
            .on_state(move |state| {
                let mut tries = seen.lock().unwrap();
                tries.up = matches!(state, ClientState::Up { .. });
                if matches!(state, ClientState::Connecting { .. }) {
                    tries.began.push(Instant::now());
                }
            })
            .pipeline(|| Pipeline::new(LengthField::u32()).handle(|_, _| Ok(())))
            .connect(address)?;
        Ok(client)
    })
}

#[cfg(feature = "stack")]
fn links_come_back(scale: Scale) -> Ran {
    come_back(scale, &["--links"], crate::nodes::dial)
}

#[cfg(not(feature = "stack"))]
fn links_come_back(_: Scale) -> Ran {
    Ok(Outcome::Skipped("needs --features stack".into()))
}

/// Kills the server of many that `begin` starts, and starts it again: in what time are they back?
fn come_back<K>(
    scale: Scale,
    arguments: &[&str],
    begin: impl Fn(&Reactor, SocketAddr, usize, Arc<Mutex<Tries>>) -> Result<K, Box<dyn Error>>,
) -> Ran {
    let count = scale.of(200, 1_000);
    let mut server = Server::start(arguments)?;
    let address = server.address;
    let reactor = Reactor::builder().workers(1).start()?;
    let tries: Vec<Arc<Mutex<Tries>>> = (0..count).map(|_| Arc::default()).collect();
    let begun = tries
        .iter()
        .enumerate()
        .map(|(n, tries)| begin(&reactor, address, n, Arc::clone(tries)));
    let clients = begun.collect::<Result<Vec<_>, _>>()?;
    let all_up = |up: bool| {
        let start = Instant::now();
        while tries.iter().any(|tries| tries.lock().unwrap().up != up) {
            if start.elapsed() > PATIENCE {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    };
    if !all_up(true) {
        return Err("not all came up".into());
    }
    server.signal("KILL")?;
    server.wait()?;
    if !all_up(false) {
        return Err("not all went down".into());
    }
    thread::sleep(INTERVAL);
    let address = address.to_string();
    server = Server::start(&[arguments, &["--listen", &address]].concat())?;
    let start = Instant::now();
    let back = all_up(true);
    let took = start.elapsed();
    let accepted = server.figure("accepted")?;
    let gaps = tries.iter().flat_map(|tries| {
        let tries = tries.lock().unwrap();
        // The first was before any loss.
        let gaps: Vec<_> = tries
            .began
            .windows(2)
            .skip(1)
            .map(|pair| pair[1] - pair[0])
            .collect();
        gaps
    });
    let closest = gaps.min().unwrap_or(INTERVAL);
    drop(clients);
    Ok(Outcome::of(
        back && took <= 5 * INTERVAL
            && closest + Duration::from_millis(1) >= INTERVAL
            && accepted == count as u64,
        format!(
            "{count} back {} after the server, {accepted} connections taken; closest tries {} apart, the interval is {}",
            Shown(took),
            Shown(closest),
            Shown(INTERVAL)
        ),
    ))
}
