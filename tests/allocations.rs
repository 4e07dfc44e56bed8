//! What a message costs the allocator once a connection is in its stride: nothing.
//!
//! Each test is alone in its process, because the allocations of all threads are counted. The table:
//! ```text
//! NETWHEEL_TEST_ALONE=1 cargo test --test allocations a_message_in -- --nocapture
//! ```
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use crossbeam_channel::{Sender, bounded};
use netwheel::codec::{Blob, Codec, Delimiter, FixedLength, LengthField, Lines, Varint32};
use netwheel::stages::{
    FrameTimeout, Idle, IpFilter, Logging, PerAddress, ReadTimeout, Traffic, WriteTimeout,
};
use netwheel::{
    Body, ConnectionHandle, Context, Failure, Flow, Framing, Group, Handler, Output, Pipeline,
    Reactor, Result, RunningServer, Stage, TrySendError, Udp,
};
use util::{PATIENCE, dial, end, frame, is_alone, serve};

const MESSAGES_TO_WARM_UP: usize = 1_000;
/// Messages for one allocation that still count as none per message: a queue may grow once more.
const MESSAGES_PER_STRAY: u64 = 1_000;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, which counts while it is told to.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count_one() {
    if COUNTS.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

#[allow(
    unsafe_code,
    reason = "an allocator can be written in no other way, and this one only passes on"
)]
// SAFETY: every call goes on to the system's allocator as it came, so its promises are ours.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller's promises are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller's promises are passed on unchanged.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count_one();
        // SAFETY: the caller's promises are passed on unchanged; the pointer came from the system's.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on unchanged; the pointer came from the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The allocations of all threads while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    ALLOCATIONS.store(0, Ordering::SeqCst);
    COUNTS.store(true, Ordering::SeqCst);
    work();
    COUNTS.store(false, Ordering::SeqCst);
    ALLOCATIONS.load(Ordering::SeqCst)
}

/// Sees every message, in and out.
#[derive(Default)]
struct Watch {
    seen: u64,
}

impl<In: 'static, Out: 'static> Stage<In, Out> for Watch {
    fn on_inbound(&mut self, _: &mut Context<'_, In, Out>, _: &mut In) -> Result<Flow> {
        self.seen += 1;
        Ok(Flow::Next)
    }

    fn on_outbound(&mut self, _: &mut Context<'_, In, Out>, _: &mut Out) -> Result<Flow> {
        self.seen += 1;
        Ok(Flow::Next)
    }
}

/// A body that is read where it lies: so many bytes of one value.
struct Fill;

#[derive(Clone, Copy, Debug)]
struct Filled {
    value: u8,
    bytes: usize,
}

impl Body for Fill {
    type In = Filled;
    type Out = Filled;

    fn decode(&mut self, frame: &[u8]) -> Result<Filled> {
        match frame {
            [value, rest @ ..] if rest.iter().all(|byte| byte == value) => Ok(Filled {
                value: *value,
                bytes: frame.len(),
            }),
            _ => Err(Failure::msg("not of one value")),
        }
    }

    fn encode(&mut self, out: Filled, dst: &mut Vec<u8>) -> Result<()> {
        dst.resize(dst.len() + out.bytes, out.value);
        Ok(())
    }
}

/// Gives its handle to the test.
struct Introduces(Sender<ConnectionHandle<Bytes>>);

impl Handler<Bytes, Bytes> for Introduces {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        Ok(self.0.send(cx.handle())?)
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
        Ok(())
    }
}

/// A blocking peer, which allocates nothing once it is made.
struct Peer {
    socket: TcpStream,
    message: Vec<u8>,
    batch: Vec<u8>,
    answer: Vec<u8>,
    depth: usize,
}

impl Peer {
    fn new(server: &RunningServer, message: Vec<u8>, depth: usize) -> Self {
        let batch = message.repeat(depth);
        Self {
            socket: dial(server.address()),
            answer: vec![0; batch.len()],
            message,
            batch,
            depth,
        }
    }

    /// Sends `depth` messages at once and takes the answers, until there were so many messages.
    fn ask(&mut self, messages: usize) {
        for _ in 0..messages / self.depth {
            self.socket.write_all(&self.batch).unwrap();
            self.take(self.depth);
        }
    }

    /// Takes so many messages, which must be the expected ones.
    fn take(&mut self, messages: usize) {
        let answer = &mut self.answer[..messages * self.message.len()];
        self.socket.read_exact(answer).unwrap();
        assert!(self.batch.starts_with(answer), "not what was sent");
    }

    /// Lets the handle send them, `depth` at once where it has room for them.
    fn hear(&mut self, handle: &ConnectionHandle<Bytes>, message: &Bytes, messages: usize) {
        for _ in 0..messages / self.depth {
            let mut waiting = 0;
            for _ in 0..self.depth {
                if let Err(refused) = handle.try_send(message.clone()) {
                    let TrySendError::Full(message) = refused else {
                        panic!("the connection has closed");
                    };
                    self.take(std::mem::take(&mut waiting));
                    self.wait_for_room(handle, message);
                }
                waiting += 1;
            }
            self.take(waiting);
        }
    }

    /// The worker may still have to note that what has arrived here has left.
    fn wait_for_room(&self, handle: &ConnectionHandle<Bytes>, mut message: Bytes) {
        util::eventually("there is room", || {
            match handle.try_send(std::mem::take(&mut message)) {
                Ok(()) => true,
                Err(TrySendError::Full(back)) => {
                    message = back;
                    false
                }
                Err(_) => panic!("the connection has closed"),
            }
        });
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
struct Load {
    bytes: usize,
    depth: usize,
}

impl Load {
    /// Messages that are counted: fewer where each is a round trip or large, which takes the machine far longer.
    const fn messages(self) -> usize {
        match (self.bytes, self.depth) {
            (64, 2..) => 100_000,
            (_, 1) => 5_000,
            _ => 10_000,
        }
    }

    fn body(self) -> Vec<u8> {
        vec![7; self.bytes]
    }

    /// Measures a server that answers every message with itself.
    fn echoed(self, server: RunningServer, message: Vec<u8>) -> u64 {
        let mut peer = Peer::new(&server, message, self.depth);
        peer.ask(MESSAGES_TO_WARM_UP);
        let count = allocations(|| peer.ask(self.messages()));
        let (stats, least) = (server.stats(), (self.messages() / self.depth) as u64);
        assert!(
            stats.messages_in >= least && stats.messages_out >= least,
            "{stats}"
        );
        drop(peer);
        end(server);
        count
    }

    fn raw(self) -> u64 {
        let server = serve(1, |_| {
            Pipeline::raw()
                .stage("watch", Watch::default())
                .handle(|cx, message| cx.write(message))
        });
        self.echoed(server, self.body())
    }

    fn framed_in_place(self) -> u64 {
        let server = serve(1, |_| {
            Pipeline::new(LengthField::u32().then(Fill))
                .stage("watch", Watch::default())
                .handle(|cx, message| cx.write(message))
        });
        self.echoed(server, frame(&self.body()))
    }

    /// Every ready-made stage at once; none of them finds anything to do.
    fn through_all_stages(self) -> u64 {
        let (door, few, all) = (
            IpFilter::parse("deny 10.0.0.0/8").unwrap().closing_open(),
            PerAddress::at_most(9),
            Traffic::new().read_rate(1 << 40),
        );
        let server = serve(1, move |_| {
            Pipeline::new(LengthField::u32().then(Fill))
                .stage("door", door.clone())
                .stage("few", few.clone())
                .stage("all", all.clone())
                .stage("each", Traffic::new().write_rate(1 << 40))
                .stage("idle", Idle::close_after(PATIENCE))
                .stage("read", ReadTimeout::after(PATIENCE))
                .stage("write", WriteTimeout::after(PATIENCE))
                .stage("frame", FrameTimeout::after(PATIENCE))
                .stage("log", Logging::debug(log::Level::Trace))
                .handle(|cx, message| cx.write(message))
        });
        self.echoed(server, frame(&self.body()))
    }

    fn framed_bytes(self) -> u64 {
        let server = serve(1, |_| {
            Pipeline::new(LengthField::u32())
                .stage("watch", Watch::default())
                .handle(|cx, message| cx.write(message))
        });
        self.echoed(server, frame(&self.body()))
    }

    /// Measures messages that this thread sends into the worker's.
    fn through_a_handle(self) -> u64 {
        let (introduce, handles) = bounded(1);
        let server = serve(1, move |_| {
            Pipeline::raw()
                .stage("watch", Watch::default())
                .handler(Introduces(introduce.clone()))
        });
        let mut peer = Peer::new(&server, self.body(), self.depth);
        let handle = handles.recv_timeout(PATIENCE).expect("a connection");
        let message = Bytes::from(self.body());
        peer.hear(&handle, &message, MESSAGES_TO_WARM_UP);
        let count = allocations(|| peer.hear(&handle, &message, self.messages()));
        drop(peer);
        end(server);
        count
    }
}

/// Gives its handle to a group.
struct Joins(Group<Bytes>);

impl Handler<Bytes, Bytes> for Joins {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        Ok(self.0.join(&cx.handle())?)
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
        Ok(())
    }
}

/// A broadcast may allocate for itself, a few times, and nothing for any of its members.
fn broadcasts(bytes: usize, depth: usize) {
    const MEMBERS: usize = 200;
    const ROUNDS: usize = 100;
    let group = Group::new(LengthField::u32());
    let theirs = group.clone();
    let server = serve(1, move |_| {
        Pipeline::new(LengthField::u32()).handler(Joins(theirs.clone()))
    });
    let message = Bytes::from(vec![7; bytes]);
    let mut peers: Vec<_> = (0..MEMBERS)
        .map(|_| Peer::new(&server, frame(&message), depth))
        .collect();
    util::eventually("all are members", || group.len() == MEMBERS);
    let mut rounds = |count: usize| {
        for _ in 0..count {
            for _ in 0..depth {
                group.broadcast(message.clone()).unwrap();
            }
            for peer in &mut peers {
                peer.take(depth);
            }
        }
    };
    rounds(20);
    let count = allocations(|| rounds(ROUNDS));
    let most = (ROUNDS * (4 * depth + 4)) as u64;
    assert!(
        count <= most,
        "{count} allocations for {ROUNDS} bursts of {depth} x {bytes} B to {MEMBERS} members"
    );
    drop(peers);
    end(server);
}

/// What is measured, by its name, and for how many messages there may be one allocation.
type Row = (&'static str, fn(Load) -> u64, u64);

const ROWS: [Row; 5] = [
    ("raw", Load::raw, MESSAGES_PER_STRAY),
    (
        "framed, read in place",
        Load::framed_in_place,
        MESSAGES_PER_STRAY,
    ),
    ("all stages", Load::through_all_stages, MESSAGES_PER_STRAY),
    // A large message may own memory of its own; small ones lie side by side.
    ("framed, owned Bytes", Load::framed_bytes, 1),
    (
        "through a handle",
        Load::through_a_handle,
        MESSAGES_PER_STRAY,
    ),
];

/// The allocations of a codec that decodes `wire` and encodes what it found, again and again, without a
/// connection around it; they may be one in a thousand messages.
fn codec_alone<C: Codec<Out = <C as Codec>::In>>(name: &str, mut codec: C, wire: &[u8]) {
    let (mut input, mut output) = (BytesMut::new(), Output::new());
    let mut rounds = |count: u64| {
        for _ in 0..count {
            input.extend_from_slice(wire);
            let message = codec.decode(&mut input).unwrap().expect("a whole frame");
            assert!(input.is_empty());
            codec.encode(message, &mut output).unwrap();
            assert!(output.tail().len() >= wire.len() / 2);
            output.tail().clear();
        }
    };
    rounds(100);
    let count = allocations(|| rounds(10_000));
    assert!(
        count <= 10,
        "{name}: {count} allocations for 10,000 messages"
    );
}

#[test]
fn a_codec_in_the_steady_state_allocates_nothing() {
    if !is_alone("a_codec_in_the_steady_state_allocates_nothing") {
        return;
    }
    codec_alone("fixed", FixedLength::new(5), b"hello");
    codec_alone("lines", Lines::new(), b"hello\n");
    codec_alone("delimiter", Delimiter::new("$_"), b"hello$_");
    codec_alone("varint", Varint32::new(), b"\x05hello");
    codec_alone("bytes", Lines::crlf().then(Blob), b"hello\r\n");
    #[cfg(feature = "json")]
    {
        use netwheel::codec::Json;
        let codec = Lines::new().then(Json::<(u64, bool), _>::new());
        codec_alone("json", codec, b"[1234567,true]\n");
    }
    #[cfg(feature = "msgpack")]
    {
        use netwheel::codec::MessagePack;
        let codec = LengthField::u8().then(MessagePack::<(u8, bool), _>::new());
        codec_alone("msgpack", codec, b"\x03\x92\x07\xC3");
    }
    #[cfg(feature = "protobuf")]
    {
        use netwheel::codec::Protobuf;
        let codec = Varint32::new().then(Protobuf::<u64, _>::new());
        codec_alone("protobuf", codec, b"\x03\x08\x96\x01");
    }
    #[cfg(feature = "gzip")]
    {
        use netwheel::codec::Gzip;
        let mut codec = LengthField::u16().then(Gzip::new(Blob).level(1));
        let mut output = Output::new();
        codec
            .encode(Bytes::from(vec![7; 2000]), &mut output)
            .unwrap();
        codec_alone("gzip", codec, &output.tail().clone());
    }
}

/// Datagrams that are answered from where they lie, by one worker, in bursts of so many.
fn datagrams(burst: usize) -> u64 {
    const ROUNDS: usize = 10_000;
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let server = Udp::on(&reactor)
        .handle(|cx, datagram| cx.send_to(datagram.bytes, datagram.peer))
        .bind("127.0.0.1:0")
        .unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(server.local_address()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let (question, mut answer) = ([7; 64], [0; 65]);
    let mut ask = |rounds: usize| {
        for _ in 0..rounds / burst {
            for _ in 0..burst {
                peer.send(&question).unwrap();
            }
            for _ in 0..burst {
                assert_eq!(peer.recv(&mut answer).unwrap(), question.len());
            }
        }
    };
    ask(MESSAGES_TO_WARM_UP);
    let count = allocations(|| ask(ROUNDS));
    assert!(server.stats().received >= ROUNDS as u64);
    count
}

#[test]
#[allow(clippy::print_stdout, reason = "the table is what the test is run for")]
fn a_message_in_the_steady_state_allocates_nothing() {
    if !is_alone("a_message_in_the_steady_state_allocates_nothing") {
        return;
    }
    let mut faults = Vec::new();
    println!("per message, and in all, of so many messages:");
    for (name, measure, messages_per_allocation) in ROWS {
        for (bytes, depth) in [(64, 1), (64, 32), (4096, 1), (4096, 32)] {
            let load = Load { bytes, depth };
            let (count, messages) = (measure(load), load.messages());
            let line = format!(
                "{name:<22} {bytes:>4} B, depth {depth:>2}: {:>8.5} {count:>6} {messages:>7}",
                count as f64 / messages as f64
            );
            println!("{line}");
            if count * messages_per_allocation > messages as u64 {
                faults.push(line);
            }
        }
    }
    assert!(faults.is_empty(), "more than allowed: {faults:#?}");
    for (bytes, depth) in [(64, 1), (64, 32), (8192, 1), (8192, 4)] {
        broadcasts(bytes, depth);
    }
    for burst in [1, 16] {
        let count = datagrams(burst);
        println!("datagrams, bursts of {burst}: {count} for 10,000");
        assert!(count <= 10, "{count} allocations for 10,000 datagrams");
    }
}

/// Both sides of a link that knows nothing but messages.
#[cfg(feature = "stack")]
#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figure is what the test is run for"
)]
fn a_message_over_a_link_in_the_steady_state_has_no_allocation_of_its_own() {
    use netwheel::stack::{Message, Node, StackLink};

    const ROUNDS: usize = 10_000;
    if !is_alone("a_message_over_a_link_in_the_steady_state_has_no_allocation_of_its_own") {
        return;
    }
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let echo = |link: &StackLink, message: Message| Ok(link.send(message)?);
    let server = Node::on(&reactor, "server").unwrap().serve(echo).unwrap();
    let listening = server.server().listen("127.0.0.1:0").unwrap();
    let listening = listening.start().unwrap();
    let (tell, told) = bounded(64);
    let node = Node::on(&reactor, "client").unwrap();
    let heard =
        move |_: &StackLink, message: Message| tell.send(message).map_err(Failure::protocol);
    let node = node.serve(heard).unwrap();
    node.know("server", listening.address()).unwrap();
    let link = node.get_or_connect("server").unwrap();
    link.wait_up(PATIENCE).unwrap();
    let message = Message::one_way(vec![7; 64]);
    for depth in [1, 32] {
        let rounds = |count: usize| {
            for _ in 0..count / depth {
                (0..depth).for_each(|_| link.send(message.clone()).unwrap());
                for _ in 0..depth {
                    assert_eq!(told.recv_timeout(PATIENCE).unwrap().body(), message.body());
                }
            }
        };
        rounds(MESSAGES_TO_WARM_UP);
        let count = allocations(|| rounds(ROUNDS));
        println!("over a link, depth {depth:>2}: {count} for {ROUNDS}");
        // What is kept until it has left lies side by side in chunks of 8 KiB, of some ninety messages.
        let bound = ROUNDS as u64 / 50;
        assert!(
            count <= bound,
            "{count} allocations for {ROUNDS} messages there and back"
        );
    }
}
