//! Groups whose members come, go and are cut off, under every kind of network.

use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::sim::World;
use netwheel::{
    BroadcastError, Client, ConnectionHandle, Context, Group, Handler, Pipeline, Result, Server,
    SlowMember,
};

use crate::{Dice, HOUR, MINUTE, Runs, Shared};

const PLACE: &str = "10.0.0.1:7000";

/// Joins the group, and gives its handle to the world.
struct Member {
    group: Group<Bytes>,
    handles: Shared<Vec<ConnectionHandle<Bytes>>>,
}

impl Handler<Bytes, Bytes> for Member {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        self.group.join(&cx.handle())?;
        self.handles.lock().unwrap().push(cx.handle());
        Ok(())
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
        Ok(())
    }
}

/// The peer of a member, and what it heard.
struct Listener {
    handle: ConnectionHandle<Bytes>,
    heard: Shared<Vec<u32>>,
    /// What had been broadcast before it was a member.
    since: u32,
}

impl Listener {
    fn new(world: &World, room: &Room, since: u32) -> Self {
        let heard: Shared<Vec<u32>> = Shared::default();
        let members = || room.handles.lock().unwrap().len();
        let (keep, before) = (heard.clone(), members());
        let handle = Client::on(world)
            .pipeline(move || {
                let keep = keep.clone();
                Pipeline::new(LengthField::u16()).handle(move |_, message: Bytes| {
                    let number = message[..4].try_into().unwrap();
                    keep.lock().unwrap().push(u32::from_be_bytes(number));
                    Ok(())
                })
            })
            .connect(PLACE)
            .unwrap();
        assert!(world.run_until(HOUR, || members() > before));
        Self {
            handle,
            heard,
            since,
        }
    }

    /// Nothing twice, nothing out of order, nothing missing up to the last that came.
    fn check(&self) {
        let heard = self.heard.lock().unwrap();
        for (n, heard) in heard.iter().enumerate() {
            assert_eq!(*heard, self.since + n as u32);
        }
    }
}

fn message(dice: &mut Dice, number: u32) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    let more = if dice.below(10) == 0 { 6000 } else { 40 };
    bytes.resize(4 + dice.below(more), b'.');
    bytes.into()
}

fn serve(world: &World, dice: &mut Dice) -> Room {
    let mut limits = ConnectionLimits::default();
    if dice.below(2) == 0 {
        limits.high_water_bytes = 1 + dice.below(2000);
        limits.low_water_bytes = dice.below(limits.high_water_bytes);
    }
    limits.output_bytes_max = 64 << 20;
    limits.write_stall_timeout = HOUR;
    let group = Group::slow(LengthField::u16(), SlowMember::Queue);
    let handles: Shared<Vec<ConnectionHandle<Bytes>>> = Shared::default();
    let (theirs, keep) = (group.clone(), handles.clone());
    let server = Server::on(world)
        .limits(limits)
        .pipeline(move |_| {
            Pipeline::new(LengthField::u16()).handler(Member {
                group: theirs.clone(),
                handles: keep.clone(),
            })
        })
        .listen(PLACE)
        .unwrap()
        .start()
        .unwrap();
    Room {
        server,
        group,
        handles,
    }
}

struct Room {
    server: netwheel::RunningServer,
    group: Group<Bytes>,
    handles: Shared<Vec<ConnectionHandle<Bytes>>>,
}

impl Room {
    /// The same message to everybody, once by the group and once by each member's handle: so both ways have
    /// to keep one order.
    fn say(&self, dice: &mut Dice, number: u32) {
        let message = message(dice, number);
        if dice.below(3) > 0 {
            return match self.group.broadcast(message) {
                Ok(()) => {}
                Err(BroadcastError::Full(_)) => panic!("the board has room for all"),
                Err(error) => panic!("{error}"),
            };
        }
        for handle in &*self.handles.lock().unwrap() {
            // One that has closed hears nothing any more.
            let _ = handle.try_send(message.clone());
        }
    }
}

fn everybody_hears_all(world: &World, messages: u32) {
    let mut dice = Dice(world.seed());
    let room = serve(world, &mut dice);
    let (mut listeners, mut gone) = (Vec::new(), Vec::new());
    for number in 0..messages {
        if listeners.len() < 2 || dice.below(10) == 0 {
            listeners.push(Listener::new(world, &room, number));
        }
        room.say(&mut dice, number);
        if dice.below(20) == 0 {
            let one: Listener = listeners.swap_remove(dice.below(listeners.len()));
            match dice.below(2) {
                0 => one.handle.close(),
                _ => one.handle.close_after_flush(),
            }
            gone.push(one);
        }
        if dice.below(3) == 0 {
            world.run_for(Duration::from_micros(dice.below(3000) as u64));
        }
    }
    let has_all = |one: &Listener| {
        let heard = one.heard.lock().unwrap().len();
        heard as u32 == messages - one.since
    };
    let all = world.run_until(HOUR, || listeners.iter().all(has_all));
    for one in listeners.iter().chain(&gone) {
        one.check();
    }
    assert!(all, "something is missing");
    assert!(world.run_until(HOUR, || room.group.len() == listeners.len()));
    assert_eq!(room.group.stats().dropped, 0);
    assert_eq!(world.net().stats().panics, 0);
    let (server, group) = (room.server, room.group);
    server.shutdown(MINUTE);
    assert!(group.is_empty());
}

#[test]
fn everybody_hears_all_in_order_under_many_seeds() {
    Runs::seeds(0..200).run(|world| everybody_hears_all(world, 60));
}
