//! Datagrams in simulated worlds, where they get lost, come twice and overtake each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use netwheel::sim::World;
use netwheel::udp::{Datagram, DatagramContext, DatagramHandler, UdpHandle};
use netwheel::{CloseReason, Result, TimerKey, TrySendError, Udp};

use crate::{HOUR, MINUTE, Runs, Shared, take};

const SERVER: &str = "10.0.0.1:7000";
const RETRY: Duration = Duration::from_millis(200);

fn doubling_server(world: &World) -> UdpHandle {
    Udp::on(world)
        .handle(|cx, datagram| {
            let twice = [&*datagram.bytes, &*datagram.bytes].concat();
            cx.send_to(twice, datagram.peer)
        })
        .bind(SERVER)
        .unwrap()
}

/// Asks each of its questions again and again until it is answered.
struct Patient {
    questions: u32,
    answers: Shared<BTreeMap<u32, Vec<u8>>>,
}

fn question(n: u32) -> Vec<u8> {
    [&n.to_be_bytes()[..], &vec![n as u8; n as usize % 50]].concat()
}

impl DatagramHandler for Patient {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) -> Result<()> {
        for n in 0..self.questions {
            cx.timer(Duration::from_millis(u64::from(n)), TimerKey(n));
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut DatagramContext<'_>, key: TimerKey) -> Result<()> {
        cx.timer(RETRY, key);
        cx.send(question(key.0))
    }

    fn on_datagram(&mut self, cx: &mut DatagramContext<'_>, datagram: Datagram<'_>) -> Result<()> {
        let n = u32::from_be_bytes(datagram.bytes[..4].try_into()?);
        cx.cancel_timer(TimerKey(n));
        let mut answers = self.answers.lock().unwrap();
        let first = answers.insert(n, datagram.bytes.to_vec());
        assert!(first.is_none_or(|first| first == datagram.bytes));
        if answers.len() == self.questions as usize {
            cx.close();
        }
        Ok(())
    }
}

#[test]
fn whoever_asks_again_is_answered_in_any_world() {
    const QUESTIONS: u32 = 40;
    Runs::seeds(0..250).run(|world| {
        let server = doubling_server(world);
        let answers = Shared::default();
        let kept = Shared::clone(&answers);
        let client = Udp::on(world)
            .handler(move || Patient {
                questions: QUESTIONS,
                answers: Shared::clone(&kept),
            })
            .connect(server.local_address())
            .unwrap();
        assert!(world.run_until(HOUR, || client.closed().is_some()));
        assert_eq!(client.closed(), Some(CloseReason::Local));
        let answers = take(&answers);
        for n in 0..QUESTIONS {
            assert_eq!(answers[&n], question(n).repeat(2));
        }
        server.close();
        assert!(world.run_until(MINUTE, || server.closed().is_some()));
        let stats = world.net().stats();
        assert_eq!(
            (stats.timers_live, stats.panics, stats.datagram_errors),
            (0, 0, 0)
        );
        assert_eq!(
            server.stats().received,
            stats.datagrams_in - client.stats().received
        );
    });
}

/// Sends numbers as fast as it may, and goes on when it is told of room.
struct Flood {
    to: SocketAddr,
    next: u32,
    refusals: Shared<u32>,
}

const FLOOD: u32 = 3000;

impl Flood {
    fn send(&mut self, cx: &mut DatagramContext<'_>) {
        while self.next < FLOOD {
            match cx.try_send_to(self.next.to_be_bytes(), self.to) {
                Ok(()) => self.next += 1,
                Err(TrySendError::Full(_)) => {
                    *self.refusals.lock().unwrap() += 1;
                    return;
                }
                Err(_) => unreachable!("it is open"),
            }
        }
        cx.close();
    }
}

impl DatagramHandler for Flood {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) -> Result<()> {
        self.send(cx);
        Ok(())
    }

    fn on_datagram(&mut self, _: &mut DatagramContext<'_>, _: Datagram<'_>) -> Result<()> {
        Ok(())
    }

    fn on_writable(&mut self, cx: &mut DatagramContext<'_>) -> Result<()> {
        self.send(cx);
        Ok(())
    }
}

#[test]
fn a_flood_is_held_back_by_full_sockets_and_leaves_whole() {
    let refused_somewhere = Shared::<u32>::default();
    Runs::seeds(0..100).run(|world| {
        let to = SERVER.parse().unwrap();
        let refusals = Shared::clone(&refused_somewhere);
        let mut limits = netwheel::limits::DatagramLimits::default();
        limits.queue_datagrams_max = 10;
        let flood = Udp::on(world)
            .limits(limits)
            .handler(move || Flood {
                to,
                next: 0,
                refusals: Shared::clone(&refusals),
            })
            .bind("10.0.0.2:0")
            .unwrap();
        assert!(world.run_until(HOUR, || flood.closed().is_some()));
        assert_eq!(
            flood.stats().sent,
            u64::from(FLOOD),
            "nothing is lost on our side"
        );
    });
    assert!(take(&refused_somewhere) > 0, "no world was ever full");
}

#[test]
fn handles_send_whole_bursts_and_close_behind_them() {
    Runs::seeds(0..200).run(|world| {
        let to = SERVER.parse().unwrap();
        let socket = Udp::on(world)
            .reuse_port(world.seed() % 2 == 0)
            .handle(|_, _| Ok(()))
            .bind("0.0.0.0:0")
            .unwrap();
        for n in 0..100_u32 {
            socket.try_send_to(n.to_be_bytes().to_vec(), to).unwrap();
            if n % 17 == 0 {
                world.run_for(Duration::from_millis(1));
            }
        }
        socket.close();
        assert!(world.run_until(MINUTE, || socket.closed().is_some()));
        assert_eq!(socket.stats().sent, 100);
    });
}

#[test]
fn one_seed_is_one_story() {
    let story = |seed| {
        let world = World::new(seed);
        let server = doubling_server(&world);
        let client = Udp::on(&world)
            .handle(|_, _| Ok(()))
            .connect(server.local_address())
            .unwrap();
        (0..50_u8).for_each(|n| client.try_send(vec![n]).unwrap());
        world.run_until_idle();
        (world.trace_hash(), server.stats(), client.stats())
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7).0, story(8).0);
}

#[test]
fn members_of_a_group_hear_it_and_nobody_else_does() {
    Runs::seeds(0..50).run(|world| {
        let group = "239.1.2.3".parse().unwrap();
        let any = std::net::Ipv4Addr::UNSPECIFIED;
        let member = Udp::on(world)
            .join_v4(group, any)
            .handle(|_, _| Ok(()))
            .bind("10.0.0.3:9000")
            .unwrap();
        let other = Udp::on(world)
            .handle(|_, _| Ok(()))
            .bind("10.0.0.4:9000")
            .unwrap();
        (0..100).for_each(|_| other.try_send_to("all", (group, 9000).into()).unwrap());
        world.run_until_idle();
        assert!(member.stats().received > 10, "a few get lost");
        assert_eq!(other.stats().received, 0);
    });
}
