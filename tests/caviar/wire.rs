//! The wire, byte for byte, against sockets without the library.

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use netwheel::caviar::{CaviarServer, Message, MessageType, RequestContext, SessionContext};
use netwheel::{Context, Executor, Flow, Result, Stage};

use crate::raw::{PING, PONG, Raw, SYNC, Socket, hex};
use crate::util::{PATIENCE, any_port, read};
use crate::{builder, echo, serve, start};

type Cx<'a> = Context<'a, Message, Message>;

/// Scenario 30.
#[test]
fn the_fixture_of_37_bytes_is_answered_by_2003_with_the_same_id() {
    let server = serve(echo);
    // The address in the 48-bit form of older peers, which is passed over.
    let hello =
        hex("0000000000000002 00007f0000011b5d 00000001 000003eb 00000000 00000005 68656c6c6f");
    assert_eq!(hello.len(), 37);
    let socket = Socket::dial(server.address());
    (&socket.0).write_all(&hello).unwrap();
    let answer =
        hex("0000000000000002 000000007f000001 00000001 000007d3 00000000 00000005 68656c6c6f");
    assert_eq!(read(&socket.0, 37), answer);
    drop(socket);
    server.shutdown(PATIENCE);
}

#[test]
fn the_fixture_of_a_ping_is_answered_by_a_pong_of_the_same_id() {
    let server = serve(echo);
    let ping =
        hex("0000000000000001 ffffffffffffffff 00000001 00002329 00000000 00000004 70696e67");
    assert_eq!(ping.len(), 36);
    let socket = Socket::dial(server.address());
    (&socket.0).write_all(&ping).unwrap();
    let pong =
        hex("0000000000000001 000000007f000001 00000001 0000232a 00000000 00000004 706f6e67");
    assert_eq!(read(&socket.0, 36), pong);
}

#[test]
fn each_question_has_its_type_of_answer_and_the_coding_passes_through() {
    let server = serve(echo);
    let socket = Socket::dial(server.address());
    for (kind, answered, body) in [
        (1001, 2001, &b""[..]),
        (1003, 2003, b"said"),
        (1004, 2003, b"said"),
        (1002, 2002, b""),
    ] {
        let mut question = Raw::new(kind, 1 << 40, b"said");
        question.code = 77;
        socket.send(&question);
        let answer = socket.receive();
        assert_eq!(
            (answer.kind, answer.id, answer.code),
            (answered, 1 << 40, 77)
        );
        assert_eq!(answer.body, body, "{kind}");
    }
}

#[test]
fn frames_may_come_a_byte_at_a_time_or_all_in_one() {
    const COUNT: u64 = 300;
    let server = serve(echo);
    let all: Vec<u8> = (0..COUNT)
        .flat_map(|id| Raw::new(SYNC, id, id.to_string().as_bytes()).bytes())
        .collect();
    let socket = Socket::dial(server.address());
    (&socket.0).write_all(&all).unwrap();
    for byte in &all {
        (&socket.0).write_all(&[*byte]).unwrap();
    }
    for id in (0..COUNT).chain(0..COUNT) {
        let answer = socket.receive();
        assert_eq!((answer.id, answer.body), (id, id.to_string().into_bytes()));
    }
}

#[test]
fn the_largest_body_passes_both_ways() {
    let server = serve(echo);
    let socket = Socket::dial(server.address());
    let body: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let question = Raw::new(SYNC, 5, &body);
    let mut writer = socket.0.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&question.bytes()).unwrap());
    assert_eq!(socket.receive().body, body);
    writing.join().unwrap();
}

#[test]
fn a_client_writes_what_the_table_of_the_wire_says() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let socket = Socket::accept(&listener);
        let mut kinds = Vec::new();
        let mut ids = Vec::new();
        for answered in [2001, 2003, 2003, 2002] {
            let question = socket.receive();
            assert_eq!((question.version, question.address), (1, 0x7f00_0001));
            let mut answer = Raw::new(answered, question.id, &question.body);
            answer.code = question.code;
            kinds.push((question.kind, question.code));
            ids.push(question.id);
            socket.send(&answer);
        }
        assert!(ids.is_sorted_by(|a, b| a < b), "ids grow: {ids:?}");
        kinds
    });
    let client = builder().connect(address).unwrap();
    assert_eq!(client.login("in").unwrap(), "in");
    assert_eq!(client.code_type(1).send_sync("one").unwrap(), "one");
    let (tell, told) = std::sync::mpsc::channel();
    let done = move |outcome: Result<_, _>| tell.send(outcome).unwrap();
    client.send_async("two", done).unwrap();
    assert_eq!(told.recv().unwrap().unwrap(), "two");
    assert_eq!(client.logout("out").unwrap(), "out");
    assert_eq!(
        serving.join().unwrap(),
        [(1001, 0), (1003, 1), (1004, 0), (1002, 0)]
    );
}

#[test]
fn a_server_may_ping_and_a_client_answers() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let client = builder().start(listener.local_addr().unwrap()).unwrap();
    let socket = Socket::accept(&listener);
    socket.send(&Raw::new(PING, 9, b"ping"));
    let pong = socket.receive();
    assert_eq!(
        (pong.kind, pong.id, &pong.body[..]),
        (PONG, 9, &b"pong"[..])
    );
    drop(socket);
    client.close();
}

#[test]
fn over_ipv6_the_address_is_unknown() {
    let server = CaviarServer::new(|_: &SessionContext, request: RequestContext| {
        assert_eq!(request.message().address, -1);
        Ok(request.respond("")?)
    });
    let Ok(server) = server.workers(1).listen("[::1]:0").unwrap().start() else {
        println!("skipped: this machine has no IPv6");
        return;
    };
    let client = crate::connect(&server);
    assert_eq!(client.send_sync("").unwrap(), "");
}

#[test]
fn a_server_shuts_down_with_its_answers_sent() {
    let server = start(CaviarServer::new(echo));
    let socket = Socket::dial(server.address());
    socket.send(&Raw::new(SYNC, 1, b"last"));
    assert_eq!(socket.receive().body, b"last");
    let address = server.address();
    let report = server.shutdown(PATIENCE);
    assert_eq!(report.aborted, 0);
    assert!(socket.try_receive().is_none());
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// Counts what passes, and sees it as it stands on the wire.
struct Tap(Arc<Mutex<Vec<(MessageType, i64)>>>);

impl Stage<Message, Message> for Tap {
    fn on_inbound(&mut self, _: &mut Cx<'_>, message: &mut Message) -> Result<Flow> {
        self.0.lock().unwrap().push((message.kind, message.address));
        Ok(Flow::Next)
    }

    fn on_outbound(&mut self, _: &mut Cx<'_>, message: &mut Message) -> Result<Flow> {
        self.0.lock().unwrap().push((message.kind, message.address));
        Ok(Flow::Next)
    }
}

#[test]
fn stages_of_the_program_see_messages_as_they_stand_on_the_wire() {
    let [here, there] = [(); 2].map(|()| Arc::<Mutex<Vec<_>>>::default());
    let [tap_here, tap_there] = [here.clone(), there.clone()];
    let pool = Executor::new(2);
    let server = CaviarServer::new(echo)
        .pool(&pool)
        .stages(move |pipeline| pipeline.stage("tap", Tap(tap_there.clone())));
    let server = start(server);
    let client = builder()
        .stages(move |pipeline| pipeline.stage("tap", Tap(tap_here.clone())))
        .connect(server.address())
        .unwrap();
    assert_eq!(client.send_sync("?").unwrap(), "?");
    let address = 0x7f00_0001;
    let seen = [
        (MessageType::ClientMsgSendReq, address),
        (MessageType::ClientMsgSendResp, address),
    ];
    assert_eq!(*here.lock().unwrap(), seen);
    assert_eq!(*there.lock().unwrap(), seen);
}

#[cfg(unix)]
#[test]
fn many_clients_share_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("netwheel-caviar-{}", std::process::id()));
    let place = format!("unix:{}", path.display());
    let server = CaviarServer::new(echo).workers(1).listen(&place).unwrap();
    let server = server.start().unwrap();
    let clients = [(); 3].map(|()| builder().connect(&place).unwrap());
    for client in &clients {
        assert_eq!(client.send_sync("?").unwrap(), "?");
    }
    assert_eq!(server.sessions().online(), 3);
    server.shutdown(PATIENCE);
}
