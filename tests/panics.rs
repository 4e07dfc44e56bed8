//! A panic in code of the program costs its own connection and nothing else; it is logged and counted.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Once;

use bytes::{Bytes, BytesMut};
use netwheel::codec::{Codec, Raw};
use netwheel::{
    AnyPipeline, CloseReason, Context, Event, Executor, Flow, Handler, LaneContext, Output,
    Pipeline, PoolHandler, Reactor, Result, RunningServer, Server, Stage, TimerKey,
};
use util::{any_port, ask, dial, dial_from, end, eventually, log, serve};

/// Keeps the planned panics out of the test's output.
fn be_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&PLANNED) {
                loud(info);
            }
        }));
    });
}

const PLANNED: &str = "planned by the test";

#[track_caller]
fn planned() -> ! {
    std::panic::panic_any(PLANNED)
}

/// Serves peers from 127.0.0.2 soundly and all others with what `pipeline` makes.
fn serve_both(pipeline: impl Fn() -> AnyPipeline + Send + Sync + 'static) -> RunningServer {
    be_quiet();
    log::capture();
    serve(1, move |peer| {
        if peer.address.ip() == Some([127, 0, 0, 2].into()) {
            return Pipeline::raw().handle(|cx, bytes| cx.write(bytes)).into();
        }
        pipeline()
    })
}

fn until_closed(mut socket: &TcpStream) {
    let _ = socket.read_to_end(&mut Vec::new());
}

/// Checks that a question to the pipeline costs that connection and no other.
fn costs_one_connection(what: &str, pipeline: impl Fn() -> AnyPipeline + Send + Sync + 'static) {
    let server = serve_both(pipeline);
    let good = dial_from(2, server.address());
    assert_eq!(ask(&good, b"before"), b"before", "{what}");
    let bad = dial(server.address());
    let _ = (&bad).write_all(b"question");
    until_closed(&bad);
    let peer = bad.local_addr().unwrap().to_string();
    drop(bad);
    eventually(what, || server.connections() == 1);
    let stats = server.stats();
    assert_eq!((stats.panics, stats.active()), (1, 1), "{what}");
    assert_eq!(stats.closes(CloseReason::Panic), stats.closed, "{what}");
    assert!(
        !log::lines_with(&["ERROR", &peer, "panicked"]).is_empty(),
        "{what} is not in the log"
    );
    assert_eq!(ask(&good, b"after"), b"after", "{what}");
    drop(good);
    end(server);
}

/// Panics in the one callback that it is named after.
#[derive(Clone, Copy, PartialEq)]
enum Panics {
    OnOpen,
    OnMessage,
    OnReadComplete,
    OnTimer,
    Never,
}

impl Handler<Bytes, Bytes> for Panics {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        cx.timer(std::time::Duration::from_millis(5), TimerKey(0));
        if *self == Self::OnOpen {
            planned()
        } else {
            Ok(())
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        if *self == Self::OnMessage {
            planned()
        } else {
            cx.write(message)
        }
    }

    fn on_read_complete(&mut self, _: &mut Context<'_, Bytes, Bytes>) -> Result {
        if *self == Self::OnReadComplete {
            planned()
        } else {
            Ok(())
        }
    }

    fn on_event(&mut self, _: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result {
        match event {
            Event::Timer(_) if *self == Self::OnTimer => planned(),
            _ => Ok(()),
        }
    }
}

#[test]
fn of_a_handler_on_the_worker() {
    for (what, panics) in [
        ("on_open", Panics::OnOpen),
        ("on_message", Panics::OnMessage),
        ("on_read_complete", Panics::OnReadComplete),
        ("on_event", Panics::OnTimer),
    ] {
        costs_one_connection(what, move || Pipeline::raw().handler(panics).into());
    }
}

struct PanicsInward;

impl Stage<Bytes, Bytes> for PanicsInward {
    fn on_inbound(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: &mut Bytes) -> Result<Flow> {
        planned()
    }
}

struct PanicsOutward;

impl Stage<Bytes, Bytes> for PanicsOutward {
    fn on_outbound(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: &mut Bytes) -> Result<Flow> {
        planned()
    }
}

#[test]
fn of_a_stage() {
    costs_one_connection("on_inbound", || {
        Pipeline::raw()
            .stage("it", PanicsInward)
            .handler(Panics::Never)
            .into()
    });
    costs_one_connection("on_outbound", || {
        Pipeline::raw()
            .stage("it", PanicsOutward)
            .handler(Panics::Never)
            .into()
    });
}

struct BadCodec {
    decodes: bool,
}

impl Codec for BadCodec {
    type In = Bytes;
    type Out = Bytes;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>> {
        if self.decodes {
            Raw.decode(input)
        } else {
            planned()
        }
    }

    fn encode(&mut self, _: Bytes, _: &mut Output) -> Result<()> {
        planned()
    }
}

#[test]
fn of_a_codec() {
    costs_one_connection("decode", || {
        Pipeline::new(BadCodec { decodes: false })
            .handler(Panics::Never)
            .into()
    });
    costs_one_connection("encode", || {
        Pipeline::new(BadCodec { decodes: true })
            .handler(Panics::Never)
            .into()
    });
}

#[test]
fn of_a_handler_on_the_pool() {
    let pool = Executor::new(1);
    let handlers = pool.clone();
    costs_one_connection("on the pool", move || {
        Pipeline::raw()
            .handle_on(&handlers, |_, _| planned())
            .into()
    });
    works(&pool);
}

/// The one thread of the pool lives on.
fn works(pool: &Executor) {
    let (tell, told) = std::sync::mpsc::channel();
    pool.try_execute(move || tell.send(()).unwrap())
        .unwrap_or_else(|_| panic!("the pool is full"));
    told.recv_timeout(util::PATIENCE).unwrap();
}

#[test]
fn of_a_job() {
    let pool = Executor::new(1);
    let jobs = pool.clone();
    costs_one_connection("a job", move || {
        let jobs = jobs.clone();
        Pipeline::raw()
            .handle(move |cx, _| cx.offload(&jobs, || -> u32 { planned() }, |_, _| Ok(())))
            .into()
    });
    let jobs = pool.clone();
    costs_one_connection("what follows a job", move || {
        let jobs = jobs.clone();
        Pipeline::raw()
            .handle(move |cx, _| cx.offload(&jobs, || 7, |_, _| planned()))
            .into()
    });
    let _ = pool.try_execute(|| planned());
    works(&pool);
}

#[test]
fn of_a_factory() {
    let server = serve_both(|| planned());
    let good = dial_from(2, server.address());
    let bad = dial(server.address());
    until_closed(&bad);
    eventually("it is gone", || server.connections() == 1);
    assert_eq!(ask(&good, b"after"), b"after");
    assert_eq!((server.stats().panics, server.stats().accepted), (1, 1));
    drop((good, bad));
    end(server);
}

/// Panics when it is told of the end.
struct PanicsAtTheEnd;

impl Handler<Bytes, Bytes> for PanicsAtTheEnd {
    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        cx.write(message)
    }

    fn on_close(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: CloseReason) {
        planned()
    }
}

/// Panics when it is dropped, on the worker or on the pool.
struct PanicsWhenDropped;

impl Handler<Bytes, Bytes> for PanicsWhenDropped {
    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        cx.write(message)
    }
}

impl PoolHandler<Bytes, Bytes> for PanicsWhenDropped {
    fn on_message(&mut self, cx: &mut LaneContext<'_, Bytes>, message: Bytes) -> Result<()> {
        if message == "fail" {
            return Err(netwheel::Failure::msg("as it was asked to"));
        }
        cx.write(message)
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        planned()
    }
}

/// Checks that a connection which ends by itself, and panics over it, disturbs nobody.
fn disturbs_nobody(
    what: &str,
    last_words: &[u8],
    pipeline: impl Fn() -> AnyPipeline + Send + Sync + 'static,
) {
    let server = serve_both(pipeline);
    let (good, bad) = (dial_from(2, server.address()), dial(server.address()));
    assert_eq!(ask(&bad, b"answer"), b"answer", "{what}");
    (&bad).write_all(last_words).unwrap();
    bad.shutdown(Shutdown::Write).unwrap();
    until_closed(&bad);
    eventually(what, || server.connections() == 1);
    assert_eq!(ask(&good, b"after"), b"after", "{what}");
    drop((good, bad));
    end(server);
}

#[test]
fn at_the_end_of_a_connection() {
    disturbs_nobody("on_close", b"", || {
        Pipeline::raw().handler(PanicsAtTheEnd).into()
    });
    disturbs_nobody("drop", b"", || {
        Pipeline::raw().handler(PanicsWhenDropped).into()
    });
    let pool = Executor::new(1);
    for last_words in [&b""[..], b"fail"] {
        let handlers = pool.clone();
        disturbs_nobody("drop on the pool", last_words, move || {
            Pipeline::raw()
                .handler_on(&handlers, PanicsWhenDropped)
                .into()
        });
        works(&pool);
    }
}

#[test]
fn of_the_one_who_chooses_the_worker() {
    be_quiet();
    let server = Server::new()
        .reactor(Reactor::builder().workers(2).choose_worker(|peer, _| {
            if peer.address.ip() == Some([127, 0, 0, 3].into()) {
                planned()
            } else {
                usize::MAX
            }
        }))
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let sockets = [2, 3, 2].map(|host| dial_from(host, server.address()));
    for socket in &sockets {
        assert_eq!(ask(socket, b"served all the same"), b"served all the same");
    }
    assert_eq!(server.stats().panics, 1);
    drop(sockets);
    end(server);
}
