//! Questions and answers: scenario 27, and what waiting costs whom.

use std::sync::mpsc::channel;

use netwheel::ErrorKind;
use netwheel::link::{CallError, OutboxRules};
use netwheel::sim::World;
use netwheel::stack::{Message, MessageType, Node, StackLink};

use crate::peer::{
    Echo, MILLI, PLACE, SECOND, Shared, ask, fast, listening, node_of, raw_server, reactor,
};
use crate::util::{PATIENCE, any_port, eventually};

#[test]
fn a_thousand_answers_in_reverse_order_find_their_questions() {
    let reactor = reactor();
    let keep: Shared<Vec<Message>> = Shared::default();
    let server = Node::on(&reactor, "server")
        .unwrap()
        .serve(move |link: &StackLink, message: Message| {
            let mut waiting = keep.lock().unwrap();
            waiting.push(message);
            if waiting.len() == 1000 {
                for question in waiting.drain(..).rev() {
                    link.send(question.answer(question.body().clone()))?;
                }
            }
            Ok(())
        })
        .unwrap();
    let running = server.server().listen(any_port()).unwrap().start().unwrap();
    let client = fast(Node::on(&reactor, "n1").unwrap())
        .serve(Echo::default())
        .unwrap();
    client.know("server", running.address()).unwrap();
    let link = client.get_or_connect("server").unwrap();
    let asked: Vec<_> = (0..1000)
        .map(|n| (n.to_string(), ask(&link, &n.to_string(), PATIENCE)))
        .collect();
    for (question, answer) in asked {
        assert_eq!(answer.recv_timeout(PATIENCE).unwrap(), Ok(question));
    }
    assert_eq!(link.stats().late_answers, 0);
    client.close();
}

#[test]
fn either_side_may_ask() {
    let reactor = reactor();
    let (server, _, running) = listening(&reactor, |node| node);
    let client = fast(Node::on(&reactor, "n1").unwrap())
        .serve(Echo::default())
        .unwrap();
    client.know("server", running.address()).unwrap();
    let link = client.get_or_connect("server").unwrap();
    link.wait_up(PATIENCE).unwrap();
    let answer = link
        .call_and_wait(Message::request("up"), PATIENCE)
        .unwrap();
    assert_eq!(answer.body(), "up");
    let back = server.link("n1").unwrap();
    let answer = back
        .call_and_wait(Message::request("down"), PATIENCE)
        .unwrap();
    assert_eq!(
        (answer.kind(), &answer.body()[..]),
        (MessageType::Response, &b"down"[..])
    );
    client.close();
}

#[test]
fn waiting_for_an_answer_on_an_io_thread_is_an_error_and_no_deadlock() {
    let reactor = reactor();
    let (tell, told) = channel();
    let (_node, _, running) = listening(&reactor, |node| node);
    let client = fast(Node::on(&reactor, "n1").unwrap())
        .serve(move |link: &StackLink, _: Message| {
            let waited = link.call_and_wait(Message::request("?"), PATIENCE);
            tell.send(waited.map_err(|error| error.kind()).err())?;
            Ok(())
        })
        .unwrap();
    client.know("server", running.address()).unwrap();
    let link = client.get_or_connect("server").unwrap();
    link.wait_up(PATIENCE).unwrap();
    let server = _node.link("n1").unwrap();
    server.send(Message::one_way("ask me")).unwrap();
    assert_eq!(
        told.recv_timeout(PATIENCE).unwrap(),
        Some(ErrorKind::Misuse)
    );
    client.close();
}

#[test]
fn a_late_answer_is_dropped_and_counted_and_the_next_call_succeeds() {
    let world = World::new(1);
    let keep: Shared<Vec<Message>> = Shared::default();
    let _server = raw_server(&world, move |message| match message.kind() {
        MessageType::HandshakeRequest => {
            Some(Message::new(MessageType::HandshakeResponse, &[0][..]))
        }
        MessageType::HeartbeatRequest => {
            // The first question is answered by and by, and so too late.
            let first = keep.lock().unwrap().pop();
            let pong = Message::new(MessageType::HeartbeatResponse, "");
            Some(first.map_or(pong, |question| question.answer("late")))
        }
        MessageType::Request if message.body() == "first" => {
            keep.lock().unwrap().push(message.clone());
            None
        }
        MessageType::Request => Some(message.answer("in time")),
        _ => None,
    });
    let (builder, echo) = node_of(&world, "n1");
    let client = builder.serve(echo).unwrap();
    client.know("server", PLACE).unwrap();
    let link = client.get_or_connect("server").unwrap();
    assert!(world.run_until(SECOND, || link.is_up()));
    let start = world.now();
    let first = ask(&link, "first", 10 * MILLI);
    let mut outcome = None;
    world.run_until(SECOND, || {
        outcome = outcome.take().or_else(|| first.try_recv().ok());
        outcome.is_some()
    });
    assert_eq!(outcome, Some(Err(CallError::TimedOut)));
    let took = world.now().since(start);
    assert!(took >= 10 * MILLI && took <= 12 * MILLI, "{took:?}");
    assert!(world.run_until(SECOND, || link.stats().late_answers == 1));
    let second = ask(&link, "second", SECOND);
    world.run_for(SECOND);
    assert_eq!(second.try_recv().unwrap(), Ok("in time".to_owned()));
    client.close();
}

#[test]
fn a_call_fails_at_once_when_its_connection_breaks() {
    let world = World::new(2);
    let _server = raw_server(&world, |message| {
        (message.kind() == MessageType::HandshakeRequest)
            .then(|| Message::new(MessageType::HandshakeResponse, &[0][..]))
    });
    let (builder, echo) = node_of(&world, "n1");
    let client = builder.serve(echo).unwrap();
    client.know("server", PLACE).unwrap();
    let link = client.get_or_connect("server").unwrap();
    assert!(world.run_until(SECOND, || link.is_up()));
    let answer = ask(&link, "?", 60 * SECOND);
    world.run_for(10 * MILLI);
    link.connection().unwrap().close();
    world.run_for(10 * MILLI);
    assert!(matches!(answer.try_recv(), Ok(Err(CallError::Down(_)))));
    client.close();
}

#[test]
fn a_callback_that_panics_costs_nobody_else() {
    let reactor = reactor();
    let (_node, _, running) = listening(&reactor, |node| node);
    let client = fast(Node::on(&reactor, "n1").unwrap())
        .serve(Echo::default())
        .unwrap();
    client.know("server", running.address()).unwrap();
    let link = client.get_or_connect("server").unwrap();
    link.call(Message::request("boom"), PATIENCE, |_| panic!("on purpose"))
        .unwrap();
    let answer = ask(&link, "still there?", PATIENCE);
    assert_eq!(
        answer.recv_timeout(PATIENCE).unwrap(),
        Ok("still there?".into())
    );
    client.close();
    eventually("it has gone", || running.connections() == 0);
}

/// More questions in one read than an outbox has places, from a peer that reads no answer before it has asked
/// them all.
#[test]
fn a_burst_of_questions_is_answered_whole_however_small_the_outbox() {
    for (acknowledged, pool) in [(false, false), (false, true), (true, false), (true, true)] {
        let reactor = reactor();
        let rules = OutboxRules::default().acknowledged(acknowledged);
        let build = |name: &str, places| {
            fast(Node::on(&reactor, name).unwrap())
                .heartbeat(SECOND, 30)
                .outbox(rules.clone().messages_max(places))
        };
        let threads = netwheel::Executor::new(2);
        let (server, client) = (build("server", 128), build("n1", 10_000));
        let echo = Echo::default();
        let server = if pool {
            server.serve_on(&threads, echo.clone()).unwrap()
        } else {
            server.serve(echo.clone()).unwrap()
        };
        let running = server.server().listen(any_port()).unwrap().start().unwrap();
        let client = client.serve(Echo::default()).unwrap();
        client.know("server", running.address()).unwrap();
        let link = client.get_or_connect("server").unwrap();
        let (tell, told) = channel();
        // What is not acknowledged is bounded by the smaller outbox, but for what is usual.
        let count = if acknowledged { 1000 } else { 10_000 };
        for n in 0..count {
            let tell = tell.clone();
            let done = move |answer| tell.send((n, answer)).unwrap();
            link.call(Message::request(n.to_string()), PATIENCE, done)
                .unwrap();
        }
        for _ in 0..count {
            let (n, answer) = told.recv_timeout(PATIENCE).unwrap();
            assert_eq!(
                answer.map(|answer| answer.body().clone()),
                Ok(n.to_string().into())
            );
        }
        assert!(
            echo.downs.lock().unwrap().is_empty(),
            "{acknowledged} {pool}"
        );
        client.close();
    }
}
