//! A server that ends each connection for the reason its peer asks for, and peers that behave badly.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::sim::{Node, World};
use netwheel::stages::{FrameTimeout, Idle};
use netwheel::{
    Client, CloseReason, ConnectionHandle, Context, Failure, Handler, Net, Pipeline, Result,
    RunningServer, Server,
};

use super::town::Town;
use crate::{Dice, MINUTE, Shared, take};

pub const GUARD: &str = "server:7001";
const SECOND: Duration = Duration::from_secs(1);
/// Asks for a long answer, behind which the connection is closed.
const TAIL: u8 = 200;
/// Asks for more than a peer that does not read takes.
const FLOOD: u8 = 201;
/// Frames of a long answer, and the bytes of each.
const FRAMES: usize = 20;
const FRAME_BYTES: usize = 700;

pub type Handles = Shared<Vec<ConnectionHandle<Bytes>>>;

/// Starts the server; whoever is open can be spoken to by `handles`.
pub fn serve(net: &Net, handles: &Handles) -> RunningServer {
    let handles = Arc::clone(handles);
    let mut limits = ConnectionLimits::default();
    limits.write_stall_timeout = 2 * SECOND;
    limits.output_bytes_max = 8 << 20;
    Server::on(net)
        .limits(limits)
        .pipeline(move |_| {
            Pipeline::new(LengthField::u16())
                .stage("frame", FrameTimeout::after(SECOND))
                .stage("idle", Idle::close_after(20 * SECOND))
                .handler(Guard(Arc::clone(&handles)))
        })
        .listen("0.0.0.0:7001")
        .unwrap()
        .start()
        .unwrap()
}

struct Guard(Handles);

impl Handler<Bytes, Bytes> for Guard {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        cx.deadline(10 * SECOND, CloseReason::HandshakeTimeout);
        self.0.lock().unwrap().push(cx.handle());
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result<()> {
        cx.cancel_deadline(CloseReason::HandshakeTimeout);
        match message[0] {
            TAIL => {
                for frame in 0..FRAMES {
                    cx.write(vec![frame as u8; FRAME_BYTES].into())?;
                }
                cx.close_after_flush(CloseReason::Local);
                Ok(())
            }
            FLOOD => (0..100).try_for_each(|_| cx.write(vec![0; 60_000].into())),
            wish => match CloseReason::ALL.get(usize::from(wish)) {
                Some(CloseReason::Panic) => resume_unwind(Box::new("as the peer has asked for")),
                Some(reason) => Err(Failure::new(*reason)),
                None => Ok(()),
            },
        }
    }
}

/// What became of one peer.
struct Peer {
    handle: ConnectionHandle<Bytes>,
    heard: Shared<Vec<Bytes>>,
}

impl Peer {
    fn dial(net: &Net) -> Self {
        let heard: Shared<Vec<Bytes>> = Shared::default();
        let keep = Arc::clone(&heard);
        let handle = Client::on(net)
            .pipeline(move || {
                let keep = Arc::clone(&keep);
                Pipeline::new(LengthField::u16()).handle(move |_, message| {
                    keep.lock().unwrap().push(message);
                    Ok(())
                })
            })
            .connect(GUARD)
            .unwrap();
        Self { handle, heard }
    }
}

/// Makes the server end a connection for some reason, each of which has its turn under some seed.
pub fn misbehave(world: &World, town: &Town) {
    let reason = CloseReason::ALL[world.seed() as usize / 8 % CloseReason::ALL.len()];
    let before = town.server.net().stats().closes(reason);
    let from = &town.nodes[0];
    let net = from.net();
    let handle = match reason {
        CloseReason::Shutdown => return shut_down(world, from),
        CloseReason::HandshakeTimeout => Peer::dial(&net).handle,
        CloseReason::Idle => {
            let peer = Peer::dial(&net);
            peer.handle.try_send(vec![255].into()).unwrap();
            peer.handle
        }
        CloseReason::FrameTimeout => dial_raw(&net, b"\x00\x01\xff\x00", false),
        CloseReason::WriteStall => dial_raw(&net, &[0, 1, FLOOD], true),
        _ => {
            let peer = Peer::dial(&net);
            peer.handle.try_send(vec![reason as u8].into()).unwrap();
            peer.handle
        }
    };
    let net = town.server.net();
    let ended = world.run_until(MINUTE, || net.stats().closes(reason) > before);
    assert!(ended, "no {reason}");
    handle.close();
}

/// Sends these bytes, and reads nothing if it is told so.
fn dial_raw(net: &Net, bytes: &'static [u8], deaf: bool) -> ConnectionHandle<Bytes> {
    struct Deaf(bool);
    impl Handler<Bytes, Bytes> for Deaf {
        fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
            if self.0 {
                cx.pause_reading();
            }
            Ok(())
        }

        fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
            Ok(())
        }
    }
    let handle = Client::on(net)
        .pipeline(move || Pipeline::raw().handler(Deaf(deaf)))
        .connect(GUARD)
        .unwrap();
    handle.try_send(Bytes::from_static(bytes)).unwrap();
    handle
}

fn shut_down(world: &World, on: &Node) {
    let server = Server::on(&on.net())
        .pipeline(|_| Pipeline::raw().handle(|_, _| Ok(())))
        .listen("0.0.0.0:7002")
        .unwrap()
        .start()
        .unwrap();
    let client = Client::on(&on.net())
        .pipeline(|| Pipeline::raw().handle(|_, _| Ok(())))
        .connect(std::net::SocketAddr::new(on.address(), 7002))
        .unwrap();
    assert!(world.run_until(MINUTE, || server.connections() == 1));
    // Until a worker has taken it in.
    world.run_for(SECOND);
    let report = server.shutdown(MINUTE);
    assert_eq!((report.drained, report.aborted), (1, 0));
    assert!(world.run_until(MINUTE, || client.closed().is_some()));
}

/// The last bytes before a close arrive, all of them.
pub fn hear_to_the_end(world: &World, from: &Node) {
    let peer = Peer::dial(&from.net());
    peer.handle.try_send(vec![TAIL].into()).unwrap();
    assert!(world.run_until(10 * MINUTE, || peer.handle.closed().is_some()));
    let heard = take(&peer.heard);
    let whole = |(number, frame): (usize, &Bytes)| *frame == vec![number as u8; FRAME_BYTES];
    assert!(
        heard.len() == FRAMES && heard.iter().enumerate().all(whole),
        "{} of {FRAMES} frames, closed by {:?}",
        heard.len(),
        peer.handle.closed()
    );
}

/// Peers come and go while the server speaks to all of them; none is sent away.
pub fn churn(world: &World, from: &Node, handles: &Handles, dice: &mut Dice) {
    take(handles);
    let mut peers: VecDeque<Peer> = VecDeque::new();
    for _ in 0..8 {
        for _ in 0..3 {
            let peer = Peer::dial(&from.net());
            peer.handle.try_send(vec![255].into()).unwrap();
            peers.push_back(peer);
        }
        for _ in 0..3 {
            world.run_for(Duration::from_micros(1 << dice.below(17)));
            speak(handles);
        }
        while peers.len() > 9 {
            let peer = peers.pop_front().unwrap();
            assert_eq!(peer.handle.closed(), None, "sent away");
            peer.handle.close();
        }
    }
    world.run_for(SECOND);
    for peer in peers {
        assert_eq!(peer.handle.closed(), None, "sent away");
        peer.handle.close_after_flush();
    }
}

/// Says something to everybody who is there; who has gone takes nothing.
fn speak(handles: &Handles) {
    let mut handles = handles.lock().unwrap();
    handles.retain(|handle| handle.try_send(Bytes::from_static(b"news")).is_ok());
}
