//! How a connect may end: open, refused, too late, given up; and who may wait for it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use netwheel::{
    Client, CloseReason, ConnectionHandle, Context, ErrorKind, Handler, Pipeline, Reactor, Result,
    Stage,
};
use util::{PATIENCE, any_port, dial, end, eventually, serve};

fn reactor() -> Reactor {
    Reactor::builder().workers(1).start().unwrap()
}

/// Tells of its life.
struct Told(mpsc::Sender<String>);

impl Handler<Bytes, Bytes> for Told {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        Ok(self.0.send(format!("open {}", cx.peer()))?)
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result {
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context<'_, Bytes, Bytes>, reason: CloseReason) {
        let _ = self.0.send(reason.to_string());
    }
}

type Connecting = (ConnectionHandle<Bytes>, mpsc::Receiver<String>);

fn connect(reactor: &Reactor, to: SocketAddr, timeout: Duration) -> Connecting {
    let (tell, told) = mpsc::channel();
    let handle = Client::on(reactor)
        .connect_timeout(timeout)
        .pipeline(move || Pipeline::raw().handler(Told(tell.clone())))
        .connect(to)
        .unwrap();
    (handle, told)
}

#[test]
fn a_connect_that_succeeds_is_told_and_both_ends_know_each_other() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let (address, reactor) = (listener.local_addr().unwrap(), reactor());
    let (handle, told) = connect(&reactor, address, PATIENCE);
    handle.wait_open(PATIENCE).unwrap();
    let (socket, peer) = listener.accept().unwrap();
    assert_eq!(handle.peer().inet(), Some(address));
    assert_eq!(handle.local().inet(), Some(peer));
    assert_eq!(
        told.recv_timeout(PATIENCE).unwrap(),
        format!("open {address}")
    );
    assert_eq!(handle.closed(), None);
    drop(socket);
    assert_eq!(
        handle.wait_closed(PATIENCE).unwrap(),
        CloseReason::PeerClosed
    );
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "peer_closed");
}

#[test]
fn a_connect_that_is_refused_says_so_and_was_never_open() {
    let free = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    let reactor = reactor();
    let (handle, told) = connect(&reactor, free, PATIENCE);
    let refused = handle.wait_open(PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    assert!(refused.to_string().contains("refused"), "{refused}");
    assert_eq!(handle.closed(), Some(CloseReason::Refused));
    eventually("it is forgotten", || told.recv().is_err());
    let stats = reactor.stats();
    assert_eq!((stats.connected, stats.closed, stats.active()), (0, 0, 0));
}

#[test]
fn an_address_that_is_none_is_told_at_once() {
    let reactor = reactor();
    let client = Client::on(&reactor).pipeline(|| Pipeline::raw().handle(|_, _| Ok(())));
    for nonsense in ["", "127.0.0.1", "127.0.0.1:99999", "no address"] {
        let error = client.connect(nonsense).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Address, "{error}");
        assert!(
            error.to_string().contains(&format!("{nonsense:?}")),
            "{error}"
        );
    }
}

/// A listener whose queue is full, so that the kernel leaves further connects unanswered.
#[cfg(target_os = "linux")]
fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
    let queued = std::iter::from_fn(connect).collect();
    (listener, queued)
}

#[cfg(target_os = "linux")]
#[test]
fn a_connect_that_nobody_answers_ends_at_its_deadline() {
    let (listener, _queued) = full_listener();
    let reactor = reactor();
    let clock = netwheel::Clock::system();
    let start = clock.now();
    let timeout = Duration::from_millis(100);
    let (handle, told) = connect(&reactor, listener.local_addr().unwrap(), timeout);
    assert_eq!(
        handle.wait_closed(PATIENCE).unwrap(),
        CloseReason::HandshakeTimeout
    );
    assert!(clock.now().since(start) >= timeout, "too early");
    assert_eq!(
        handle.wait_open(PATIENCE).unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert!(told.recv().is_err(), "it was never open");
    eventually("its timer is gone", || reactor.stats().timers_live == 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_connect_under_way_is_given_up_when_its_handle_or_its_reactor_says_so() {
    let (listener, _queued) = full_listener();
    let address = listener.local_addr().unwrap();
    let reactor = reactor();
    let (handle, _told) = connect(&reactor, address, PATIENCE);
    let too_late = handle.wait_open(Duration::from_millis(20)).unwrap_err();
    assert_eq!(too_late.kind(), ErrorKind::Timeout);
    assert_eq!(handle.closed(), None);
    handle.close();
    assert_eq!(handle.wait_closed(PATIENCE).unwrap(), CloseReason::Local);

    let (handle, _told) = connect(&reactor, address, PATIENCE);
    reactor.shutdown(PATIENCE);
    assert_eq!(handle.closed(), Some(CloseReason::Shutdown));
}

/// Fails when something is sent through it before it was told of the connection.
#[derive(Default)]
struct Watch {
    opened: bool,
}

impl Stage<Bytes, Bytes> for Watch {
    fn on_open(&mut self, _: &mut Context<'_, Bytes, Bytes>) -> Result {
        self.opened = true;
        Ok(())
    }

    fn on_outbound(
        &mut self,
        _: &mut Context<'_, Bytes, Bytes>,
        _: &mut Bytes,
    ) -> Result<netwheel::Flow> {
        assert!(self.opened, "sent before the connection was open");
        Ok(netwheel::Flow::Next)
    }
}

/// The kernel tries the connect again after a second, and finds room.
#[cfg(target_os = "linux")]
#[test]
fn what_is_sent_during_a_long_connect_leaves_when_it_is_open() {
    let (listener, queued) = full_listener();
    let reactor = reactor();
    let handle = Client::on(&reactor)
        .connect_timeout(PATIENCE)
        .pipeline(|| {
            Pipeline::raw()
                .stage("watch", Watch::default())
                .handle(|_, _| Ok(()))
        })
        .connect(listener.local_addr().unwrap())
        .unwrap();
    for n in 0..100_u8 {
        handle.try_send(vec![n].into()).unwrap();
    }
    handle.close_after_flush();
    let too_early = handle.wait_open(Duration::from_millis(20)).unwrap_err();
    assert_eq!(
        too_early.kind(),
        ErrorKind::Timeout,
        "the connect hangs, as planned"
    );
    for _ in &queued {
        listener.accept().unwrap();
    }
    let (socket, _) = listener.accept().unwrap();
    assert_eq!(util::read_to_end(&socket), (0..100).collect::<Vec<u8>>());
    assert_eq!(handle.wait_closed(PATIENCE).unwrap(), CloseReason::Local);
}

#[test]
fn an_io_thread_may_not_wait_for_a_connection() {
    let (tell, told) = mpsc::channel();
    let server = serve(1, move |_| {
        let tell = tell.clone();
        Pipeline::raw().handle(move |cx, _| {
            let handle = cx.handle();
            for outcome in [
                handle.wait_open(PATIENCE).map_err(|error| error.kind()),
                handle
                    .wait_closed(PATIENCE)
                    .map(drop)
                    .map_err(|error| error.kind()),
            ] {
                tell.send(outcome)?;
            }
            Ok(())
        })
    });
    let socket = dial(server.address());
    std::io::Write::write_all(&mut &socket, b"?").unwrap();
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Err(ErrorKind::Misuse));
    }
    drop(socket);
    end(server);
}
