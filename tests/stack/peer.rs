//! What the tests share: services, raw sockets, and peers of a world that are no nodes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netwheel::link::{CallError, Service};
use netwheel::sim::World;
use netwheel::stack::{Message, MessageType, Node, NodeBuilder, StackLink, StackWire};
use netwheel::{
    Backoff, Client, CloseReason, ConnectionHandle, Reactor, Result, RunningServer, Server,
};

use crate::util::any_port;

pub(crate) const MILLI: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const PLACE: &str = "10.0.0.1:7000";

/// T, N and INTERVAL of the fast scenarios.
pub(crate) const T: Duration = Duration::from_millis(50);
pub(crate) const N: u32 = 3;
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// A login without a name, and what may answer it.
pub(crate) const LOGIN: [u8; 22] = [
    0xab, 0xef, 1, 1, 0, 0, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0,
];
pub(crate) const ACCEPTED: [u8; 23] = answer(0x00);
pub(crate) const REFUSED: [u8; 23] = answer(0xff);

const fn answer(body: u8) -> [u8; 23] {
    [
        0xab, 0xef, 1, 1, 0, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, body,
    ]
}

/// A frame without attachments.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(22 + body.len()).unwrap().to_be_bytes();
    [
        &[0xab, 0xef, 1, 1][..],
        &length,
        &[0; 8],
        &[kind, 0, 0, 0, 0, 0],
        body,
    ]
    .concat()
}

/// A login with a name.
pub(crate) fn login(node: &str) -> Vec<u8> {
    let length = u32::try_from(36 + node.len()).unwrap().to_be_bytes();
    let name = u32::try_from(node.len()).unwrap().to_be_bytes();
    let key = b"\0\0\0\x01\0\0\0\x06nodeId";
    [
        &[0xab, 0xef, 1, 1][..],
        &length,
        &[0; 8],
        &[3, 0],
        key,
        &name,
        node.as_bytes(),
    ]
    .concat()
}

pub(crate) fn say(mut socket: &TcpStream, bytes: &[u8]) {
    socket.write_all(bytes).expect("the server reads");
}

/// Reads to the end, also where that is a reset.
pub(crate) fn rest(mut socket: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes);
    bytes
}

/// What callbacks write and a test reads.
pub(crate) type Shared<T> = Arc<Mutex<T>>;

pub(crate) fn take<T: Default>(shared: &Shared<T>) -> T {
    std::mem::take(&mut *shared.lock().unwrap())
}

/// What a service has been told, and the answers it gives: questions come back as they are.
#[derive(Clone, Default)]
pub(crate) struct Echo {
    pub(crate) ups: Shared<Vec<String>>,
    pub(crate) downs: Shared<Vec<CloseReason>>,
    pub(crate) heard: Shared<Vec<String>>,
}

impl Service<StackWire> for Echo {
    fn on_up(&self, link: &StackLink) {
        self.ups.lock().unwrap().push(link.name().to_owned());
    }

    fn on_message(&self, link: &StackLink, message: Message) -> Result<()> {
        let text = String::from_utf8_lossy(message.body()).into_owned();
        self.heard.lock().unwrap().push(text);
        if message.kind() == MessageType::Request {
            link.send(message.answer(message.body().clone()))?;
        }
        Ok(())
    }

    fn on_down(&self, _: &StackLink, reason: CloseReason) {
        self.downs.lock().unwrap().push(reason);
    }
}

/// The rules of nodes on sockets: they come back fast, and a busy machine is not taken for a dead peer.
pub(crate) fn fast(node: NodeBuilder) -> NodeBuilder {
    node.reconnect(Backoff::every(INTERVAL))
}

pub(crate) fn reactor() -> Reactor {
    Reactor::builder().workers(2).start().expect("threads")
}

/// A node that listens on a free port of this machine.
pub(crate) fn listening(
    reactor: &Reactor,
    build: impl FnOnce(NodeBuilder) -> NodeBuilder,
) -> (Node, Echo, RunningServer) {
    let echo = Echo::default();
    let builder = Node::on(reactor, "server").expect("a name");
    let node = build(builder).serve(echo.clone()).expect("settings");
    let server = node.server().listen(any_port()).expect("a free port");
    (node, echo, server.start().expect("a reactor"))
}

/// A node of a world, by the fast rules of the scenarios, and what it was told.
pub(crate) fn node_of(world: &World, name: &str) -> (NodeBuilder, Echo) {
    let node = fast(Node::on(world, name).unwrap());
    let node = node.heartbeat(T, N).handshake_timeout(SECOND);
    (node, Echo::default())
}

/// Asks, and keeps the outcome.
pub(crate) fn ask(
    link: &StackLink,
    body: &str,
    timeout: Duration,
) -> Receiver<std::result::Result<String, CallError>> {
    let (tell, told) = channel();
    link.call(Message::request(body.to_owned()), timeout, move |answer| {
        let text = answer.map(|answer| String::from_utf8_lossy(answer.body()).into_owned());
        tell.send(text).unwrap();
    })
    .expect("room");
    told
}

/// A peer of a world that speaks frames and is no node: it does what the test says.
pub(crate) struct RawPeer {
    pub(crate) handle: ConnectionHandle<Message>,
    pub(crate) heard: Shared<Vec<Message>>,
}

impl RawPeer {
    pub(crate) fn dial(world: &World) -> Self {
        let heard: Shared<Vec<Message>> = Shared::default();
        let keep = Arc::clone(&heard);
        let handle = Client::on(world)
            .pipeline(move || {
                let keep = Arc::clone(&keep);
                netwheel::Pipeline::new(codec()).handle(move |_, message| {
                    keep.lock().unwrap().push(message);
                    Ok(())
                })
            })
            .connect(PLACE)
            .unwrap();
        Self { handle, heard }
    }

    pub(crate) fn say(&self, message: Message) {
        self.handle.try_send(message).expect("an open connection");
    }

    pub(crate) fn login(&self, node: &str) {
        let login = Message::new(MessageType::HandshakeRequest, "");
        self.say(login.attach(netwheel::stack::NODE_ID, node.to_owned()));
    }
}

pub(crate) fn codec() -> netwheel::stack::StackCodec {
    netwheel::link::Wire::codec(&StackWire::default())
}

/// A server of a world that speaks frames and is no node: `answer` says what it does with each.
pub(crate) fn raw_server(
    world: &World,
    answer: impl Fn(&Message) -> Option<Message> + Send + Sync + 'static,
) -> RunningServer {
    let answer = Arc::new(answer);
    Server::on(world)
        .pipeline(move |_| {
            let answer = Arc::clone(&answer);
            netwheel::Pipeline::new(codec()).handle(move |cx, message: Message| {
                match answer(&message) {
                    Some(answer) => cx.write(answer),
                    None => Ok(()),
                }
            })
        })
        .listen(PLACE)
        .unwrap()
        .start()
        .unwrap()
}
