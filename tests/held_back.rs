//! What other threads send through a handle leaves in order, all of it, and never before its time.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::net::TcpListener;
use std::sync::mpsc;

use bytes::Bytes;
use netwheel::{
    Client, CloseReason, ConnectionHandle, Context, Flow, Handler, Pipeline, Reactor, Result,
    Stage, TrySendError,
};
use util::{PATIENCE, Pattern, any_port, dial, end, read_to_end, serve};

/// Hands its connection's handle to the test.
struct Handing(mpsc::Sender<ConnectionHandle<Bytes>>);

impl Handler<Bytes, Bytes> for Handing {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        Ok(self.0.send(cx.handle())?)
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        cx.write(message)
    }
}

#[test]
fn a_burst_far_above_the_high_water_mark_leaves_before_the_close_behind_it() {
    const PIECES: usize = 900;
    let (handing, handed) = mpsc::channel();
    let server = serve(1, move |_| {
        Pipeline::raw().handler(Handing(handing.clone()))
    });
    let socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    let mut sent = Vec::new();
    Pattern::default().write(&mut sent, PIECES * 1024);
    let sent = Bytes::from(sent);
    for piece in 0..PIECES {
        handle
            .try_send(sent.slice(piece * 1024..(piece + 1) * 1024))
            .unwrap();
    }
    handle.close_after_flush();
    assert_eq!(
        handle.try_send(Bytes::new()),
        Err(TrySendError::Closed(Bytes::new()))
    );
    assert!(read_to_end(&socket) == sent);
    assert_eq!(handle.wait_closed(PATIENCE).unwrap(), CloseReason::Local);
    drop(socket);
    end(server);
}

#[test]
fn writes_of_a_callback_leave_behind_those_of_a_handle_also_when_it_closes() {
    let server = serve(1, |_| {
        Pipeline::raw().handle(|cx, _| {
            cx.handle().try_send(Bytes::from_static(b"one, "))?;
            cx.write(Bytes::from_static(b"two, "))?;
            cx.handle().try_send(Bytes::from_static(b"three"))?;
            cx.close_after_flush(CloseReason::Local);
            assert!(cx.write(Bytes::from_static(b"four")).is_err());
            Ok(())
        })
    });
    let socket = dial(server.address());
    util::write_and_finish(&socket, b"go");
    assert_eq!(read_to_end(&socket), b"one, two, three");
    end(server);
}

/// Fails when something is sent through it before it was told of the connection.
struct Watch {
    opened: bool,
    seen: mpsc::Sender<Bytes>,
}

impl Stage<Bytes, Bytes> for Watch {
    fn on_open(&mut self, _: &mut Context<'_, Bytes, Bytes>) -> Result {
        self.opened = true;
        Ok(())
    }

    fn on_outbound(
        &mut self,
        _: &mut Context<'_, Bytes, Bytes>,
        message: &mut Bytes,
    ) -> Result<Flow> {
        assert!(self.opened, "sent before the connection was open");
        self.seen.send(message.clone())?;
        Ok(Flow::Next)
    }
}

#[test]
fn what_is_sent_before_the_connect_leaves_in_order_once_it_is_open() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let (seen, sent) = mpsc::channel();
    let client = Client::on(&reactor)
        .pipeline(move || {
            let watch = Watch {
                opened: false,
                seen: seen.clone(),
            };
            Pipeline::raw().stage("watch", watch).handle(|_, _| Ok(()))
        })
        .connect(listener.local_addr().unwrap())
        .unwrap();
    for n in 0..100_u8 {
        client.try_send(Bytes::copy_from_slice(&[n])).unwrap();
    }
    client.close_after_flush();
    let (socket, _) = listener.accept().unwrap();
    let expected: Vec<u8> = (0..100).collect();
    assert_eq!(read_to_end(&socket), expected);
    let seen: Vec<u8> = sent.try_iter().map(|message| message[0]).collect();
    assert_eq!(seen, expected);
    assert_eq!(client.wait_closed(PATIENCE).unwrap(), CloseReason::Local);
}

#[test]
fn more_messages_than_the_mailbox_holds_pass_one_after_the_other() {
    let (handing, handed) = mpsc::channel();
    let server = serve(1, move |_| {
        Pipeline::raw().handler(Handing(handing.clone()))
    });
    let socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    let count = 2 * netwheel::limits::MAILBOX_MESSAGES_MAX;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..count {
                let mut message = Bytes::copy_from_slice(&n.to_le_bytes());
                while let Err(refused) = handle.try_send(message) {
                    assert!(refused.is_full());
                    message = refused.into_inner();
                    std::thread::yield_now();
                }
            }
            handle.close_after_flush();
        });
        let expected: Vec<u8> = (0..count).flat_map(usize::to_le_bytes).collect();
        assert!(read_to_end(&socket) == expected);
    });
    drop(socket);
    end(server);
}
