//! What a server says unasked.

use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use netwheel::Result;
use netwheel::caviar::{
    CaviarErrorKind, CaviarServer, ClientListener, MessageType, RequestContext,
    RunningCaviarServer, SessionContext,
};

use crate::raw::{Raw, SYNC, Socket};
use crate::util::{A_WHILE, PATIENCE, eventually};
use crate::{builder, echo, serve, start};

/// Scenario 40.
#[test]
fn a_push_reaches_one_and_a_broadcast_each_of_a_hundred_once() {
    let server = serve(echo);
    let sockets: Vec<_> = (0..100).map(|_| Socket::dial(server.address())).collect();
    let mut indices = Vec::new();
    for socket in &sockets {
        socket.send(&Raw::new(SYNC, 1, b"here"));
        assert_eq!(socket.receive().body, b"here");
    }
    eventually("all are there", || server.sessions().all().len() == 100);
    let to = sockets[42].0.local_addr().unwrap();
    for session in server.sessions().all() {
        indices.push(session.session_index());
        if session.remote_addr() == netwheel::Address::Inet(to) {
            session.push("only you").unwrap();
        }
    }
    indices.sort_unstable();
    assert!(indices.into_iter().eq(1..=100));
    let told = server.sessions().broadcast("everybody");
    assert_eq!((told.taken, told.refused), (100, 0));
    for (number, socket) in sockets.iter().enumerate() {
        // Behind the pushes, so that one too many would show.
        socket.send(&Raw::new(SYNC, 2, b"end"));
        let mut bodies = Vec::new();
        loop {
            let message = socket.receive();
            if message.kind != 1015 {
                break;
            }
            assert_eq!((message.id, message.address), (0, 0x7f00_0001));
            bodies.push(String::from_utf8(message.body).unwrap());
        }
        let expected: &[&str] = if number == 42 {
            &["only you", "everybody"]
        } else {
            &["everybody"]
        };
        assert_eq!(bodies, expected);
    }
    let chosen = server
        .sessions()
        .broadcast_to("odd", |session| session.session_index() % 2 == 1);
    assert_eq!(chosen.taken, 50);
}

#[test]
fn a_client_hears_pushes_in_order_on_its_pool() {
    let server = serve(|session: &SessionContext, request: RequestContext| {
        for number in 0..100 {
            session.push(format!("{number}"))?;
        }
        echo(session, request)
    });
    let (tell, told) = channel();
    let client = builder()
        .listener(move |body: Bytes| Ok(tell.send(body)?))
        .connect(server.address())
        .unwrap();
    assert_eq!(client.send_sync("go").unwrap(), "go");
    for number in 0..100 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), number.to_string());
    }
}

/// The one session there is, once it is open.
fn only_session(server: &RunningCaviarServer) -> SessionContext {
    let mut found = None;
    eventually("it is there", || {
        found = server.sessions().all().pop();
        found.is_some()
    });
    found.unwrap()
}

/// Answers what asks for an answer.
struct Polite;

impl ClientListener for Polite {
    fn on_request(&self, request: RequestContext) -> Result<()> {
        if request.body() == "quiet" {
            return Ok(());
        }
        let answer = format!("{} {}", request.is_sync(), request.session_index());
        Ok(request.respond(answer)?)
    }
}

/// Scenario 41.
#[test]
fn a_server_asks_a_client_and_gets_its_answer_or_a_timeout() {
    let server = serve(echo);
    let _client = builder()
        .listener(Polite)
        .connect(server.address())
        .unwrap();
    let session = only_session(&server);
    let asked = session.ask_and_wait("who are you?", PATIENCE).unwrap();
    assert_eq!(asked, "true 0");
    let (tell, told) = channel();
    let done = move |outcome: Result<Bytes, _>| tell.send(outcome).unwrap();
    session.ask("and now?", PATIENCE, done).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().unwrap(), "false 0");
    let late = session
        .ask_and_wait("quiet", Duration::from_millis(50))
        .unwrap_err();
    assert_eq!(late.kind(), CaviarErrorKind::ServerReqTimeout);
    assert_eq!(session.ask_and_wait("still?", PATIENCE).unwrap(), "true 0");
}

#[test]
fn a_servers_request_on_the_wire_is_1013_and_its_answer_2013() {
    let server = serve(echo);
    let socket = Socket::dial(server.address());
    let session = only_session(&server);
    let asking = std::thread::spawn(move || session.ask_and_wait("?", PATIENCE));
    let question = socket.receive();
    assert_eq!((question.kind, &question.body[..]), (1013, &b"?"[..]));
    socket.send(&Raw::new(2013, question.id, b"!"));
    assert_eq!(asking.join().unwrap().unwrap(), "!");
}

#[test]
fn a_session_that_has_ended_takes_nothing_and_is_forgotten() {
    let (tell, ended) = channel();
    struct Ends(std::sync::mpsc::Sender<SessionContext>);
    impl netwheel::caviar::ServerListener for Ends {
        fn on_message(&self, session: &SessionContext, request: RequestContext) -> Result<()> {
            echo(session, request)
        }
        fn on_close(&self, session: &SessionContext, _: netwheel::CloseReason) {
            self.0.send(session.clone()).unwrap();
        }
    }
    let server = start(CaviarServer::new(Ends(tell)));
    for _ in 0..50 {
        drop(Socket::dial(server.address()));
        let session = ended.recv_timeout(PATIENCE).unwrap();
        let error = session.push("too late").unwrap_err();
        assert_eq!(error.kind(), CaviarErrorKind::Closed);
        assert_eq!(error.into_body().unwrap(), "too late");
        assert!(server.sessions().get(session.session_index()).is_none());
    }
    assert!(server.sessions().all().is_empty());
}

#[test]
fn a_client_that_does_not_read_costs_no_more_than_its_outbox() {
    let server = start(CaviarServer::new(echo).outbox_max(100, 1 << 20));
    let socket = Socket::dial(server.address());
    let session = only_session(&server);
    let body = Bytes::from(vec![7; 100_000]);
    let mut sent = 0;
    let full = loop {
        match session.push(body.clone()) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 10_000, "nothing holds it back");
    };
    assert_eq!(full.kind(), CaviarErrorKind::QueueFull);
    for _ in 0..sent {
        let push = socket.receive();
        assert_eq!((push.kind, push.body.len()), (1015, body.len()));
    }
    socket.0.set_read_timeout(Some(A_WHILE)).unwrap();
    assert!(socket.try_receive().is_none(), "each exactly once");
}

#[test]
fn any_message_may_be_written_as_it_is() {
    let server = serve(|session: &SessionContext, request: RequestContext| {
        let mut answer = netwheel::caviar::Message::new(MessageType::ClientMsgSendResp, "by hand");
        answer.request_id = request.request_id();
        Ok(session.write_and_flush(answer)?)
    });
    let client = crate::connect(&server);
    assert_eq!(client.send_sync("?").unwrap(), "by hand");
}
