//! A slot that is used again gets nothing that was meant for the connection before it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::{CloseReason, Context, Event, Executor, Handler, Pipeline, Result, TimerKey};
use util::{Baseline, dial_from, end, eventually, frame, read, reset, serve};

const CYCLES: u64 = 100_000;
/// Hosts 127.0.0.2 to 127.0.0.5, one for each thread of clients: one alone would run out of ports.
const HOSTS: u8 = 4;

/// Sends the one number that its connection was given: at once, from the pool, and through a handle; and
/// counts whatever reaches it of another connection.
struct Numbered {
    number: Option<u64>,
    pool: Executor,
    strangers: Arc<AtomicU64>,
}

impl Numbered {
    fn check(&self, number: u64) {
        if self.number != Some(number) {
            self.strangers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Number(u64);

impl Handler<Bytes, Bytes> for Numbered {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        cx.deadline(Duration::from_secs(100), CloseReason::Idle);
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        let number = u64::from_be_bytes(message[..].try_into()?);
        assert_eq!(
            self.number.replace(number),
            None,
            "one message a connection"
        );
        cx.attributes().insert(Number(number));
        // Some are due before the peer resets, some about then, most never.
        let key = TimerKey(u32::try_from(number)?);
        cx.timer(Duration::from_micros(number % 7 * 500), key);
        cx.timer(Duration::from_secs(50), TimerKey(u32::MAX));
        let (handle, strangers) = (cx.handle(), Arc::clone(&self.strangers));
        cx.offload(
            &self.pool,
            move || {
                let _ = handle.try_send(message);
                number
            },
            move |cx, number| {
                if cx.attribute().is_none_or(|Number(own)| *own != number) {
                    strangers.fetch_add(1, Ordering::Relaxed);
                }
                cx.write(Bytes::copy_from_slice(&number.to_be_bytes()))
            },
        )
    }

    fn on_event(&mut self, _: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result {
        if let Event::Timer(TimerKey(key)) = event {
            self.check(u64::from(*key));
        }
        Ok(())
    }
}

/// Opens and resets so many connections; every sixteenth waits for its answers first.
fn churn(address: std::net::SocketAddr, host: u8) {
    for cycle in 0..CYCLES / u64::from(HOSTS) {
        let number = cycle * u64::from(HOSTS) + u64::from(host);
        let question = frame(&number.to_be_bytes());
        let mut socket = dial_from(2 + host, address);
        if cycle % 8 != 7 {
            socket.write_all(&question).unwrap();
        }
        if cycle % 16 == 0 {
            assert_eq!(read(&socket, 2 * question.len()), question.repeat(2));
        }
        reset(socket);
    }
}

#[test]
fn a_hundred_thousand_connections_come_and_go_and_nothing_reaches_a_stranger() {
    let baseline = Baseline::now();
    let (pool, strangers) = (Executor::new(2), Arc::new(AtomicU64::new(0)));
    let (handlers, counter) = (pool.clone(), Arc::clone(&strangers));
    let server = serve(2, move |_| {
        Pipeline::new(LengthField::u32()).handler(Numbered {
            number: None,
            pool: handlers.clone(),
            strangers: Arc::clone(&counter),
        })
    });
    let running = Baseline::now();
    thread::scope(|scope| {
        let address = server.address();
        for host in 0..HOSTS {
            scope.spawn(move || churn(address, host));
        }
    });
    eventually("all have gone", || {
        let stats = server.stats();
        server.connections() == 0
            && stats.closed == CYCLES
            && stats.timers_live == 0
            && pool.queued() == 0
    });
    let stats = server.stats();
    assert_eq!(
        (stats.accepted, stats.active(), stats.panics),
        (CYCLES, 0, 0)
    );
    assert_eq!(
        strangers.load(Ordering::Relaxed),
        0,
        "something reached another connection"
    );
    assert!(
        stats.stale_events > 0,
        "nothing came too late, so nothing was proved"
    );
    eventually("descriptors as before the first", || {
        Baseline::now().descriptors() == running.descriptors()
    });
    end(server);
    drop(pool);
    baseline.is_back_after("the churn");
}
