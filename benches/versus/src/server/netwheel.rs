//! netwheel itself, written as its good user would write it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::{Codec, LengthField, Raw};
use netwheel::limits::{ConnectionLimits, WorkerLimits};
use netwheel::stages::Idle;
use netwheel::tls::Tls;
use netwheel::{
    Context, Executor, Group, Handler, Pipeline, Reactor, Result, RunningServer, Server, Udp,
};

use super::{Mode, ServeArgs, announce, identity, netwheel_link};

/// Sends each message back; closes a peer that is silent for `idle`, where that is asked for.
fn echo(
    codec: impl Codec<In = Bytes, Out = Bytes>,
    idle: Option<Duration>,
) -> Pipeline<Bytes, Bytes> {
    let mut builder = Pipeline::new(codec);
    if let Some(idle) = idle {
        builder = builder.stage("idle", Idle::close_after(idle));
    }
    builder.handle(|cx, message| cx.write(message))
}

/// Joins the room with its first message, and tells everybody the others.
struct Member {
    room: Group<Bytes>,
    joined: bool,
}

impl Handler<Bytes, Bytes> for Member {
    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result<()> {
        if self.joined {
            return Ok(self.room.broadcast(message)?);
        }
        self.joined = true;
        self.room.join(&cx.handle())?;
        cx.write(message)
    }
}

/// One reactor: an acceptor and the workers asked for.
pub fn serve(args: &ServeArgs) -> io::Result<()> {
    match args.mode {
        Mode::Udp => return serve_datagrams(args),
        Mode::Link => return netwheel_link::serve(args),
        Mode::Raw | Mode::Framed | Mode::Tls | Mode::Pool | Mode::Broadcast => {}
    }
    let server = start(args)?;
    announce(server.address())?;
    server.wait();
    Ok(())
}

fn serve_datagrams(args: &ServeArgs) -> io::Result<()> {
    let reactor = Reactor::builder().workers(args.workers).start()?;
    let socket = Udp::on(&reactor)
        .handle(|cx, datagram| cx.send_to(datagram.bytes, datagram.peer))
        .bind(args.listen)?;
    announce(socket.local_address())?;
    socket.wait_closed(Duration::MAX)?;
    Ok(())
}

fn start(args: &ServeArgs) -> io::Result<RunningServer> {
    let idle = (args.idle > 0).then(|| Duration::from_secs(args.idle));
    let (mode, pool) = (args.mode, Executor::new(args.pool));
    let room = Group::new(LengthField::u32());
    let tls = Tls::server(identity::config()?);
    let mut limits = WorkerLimits::default();
    limits.read_buffer_bytes = args.buffer;
    let reactor = Reactor::builder()
        .limits(limits)
        .workers(args.workers)
        .busy_poll(Duration::from_micros(args.spin));
    let reactor = if args.pin == 1 {
        reactor.pin_workers(0..args.workers)
    } else {
        reactor
    };
    let mut connection = ConnectionLimits::default();
    connection.reads_per_turn = args.turn.div_ceil(args.buffer).max(16);
    connection.read_bytes_per_turn = args.turn;
    connection.write_bytes_per_turn = args.turn;
    let server = Server::new()
        .reactor(reactor)
        .limits(connection)
        .reuse_port(args.reuse_port == 1)
        .pipeline(move |_| match mode {
            Mode::Raw | Mode::Udp | Mode::Link => echo(Raw, idle),
            Mode::Tls => Pipeline::raw()
                .tls(&tls)
                .handle(|cx, message| cx.write(message)),
            Mode::Framed => echo(LengthField::u32(), idle),
            Mode::Pool => on_pool(LengthField::u32(), &pool),
            Mode::Broadcast => Pipeline::new(LengthField::u32()).handler(Member {
                room: room.clone(),
                joined: false,
            }),
        })
        .listen(args.listen)?
        .start()?;
    Ok(server)
}

fn on_pool(codec: impl Codec<In = Bytes, Out = Bytes>, pool: &Executor) -> Pipeline<Bytes, Bytes> {
    Pipeline::new(codec).handle_on(pool, |cx, message| cx.write(message))
}
