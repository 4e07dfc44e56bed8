//! Nodes whose links have a spool, over real sockets.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netwheel::link::{OutboxRules, SendError, SpoolFile};
use netwheel::stack::{Message, Node, NodeBuilder, StackLink};
use netwheel::{Backoff, ErrorKind, Reactor, Result};

use crate::util::{PATIENCE, Scratch, any_port, eventually};

fn node(reactor: &Reactor, name: &str) -> NodeBuilder {
    Node::on(reactor, name)
        .unwrap()
        .reconnect(Backoff::every(Duration::from_millis(20)))
        .outbox(OutboxRules::default().acknowledged(true))
}

fn ignore(_: &StackLink, _: Message) -> Result<()> {
    Ok(())
}

fn reactor() -> Reactor {
    Reactor::builder().workers(1).start().unwrap()
}

/// A place where nobody listens.
fn nowhere() -> String {
    let socket = std::net::TcpListener::bind(any_port()).unwrap();
    socket.local_addr().unwrap().to_string()
}

#[test]
fn what_was_accepted_is_sent_by_the_next_process_and_then_forgotten() {
    let scratch = Scratch::new("next-process");
    {
        let file = SpoolFile::open(scratch.path("spool")).unwrap();
        let reactor = reactor();
        let node = node(&reactor, "n2")
            .spool_file(&file)
            .serve(ignore)
            .unwrap();
        node.know("n1", nowhere()).unwrap();
        let link = node.get_or_connect("n1").unwrap();
        for n in 0..20 {
            link.send(Message::one_way(n.to_string())).unwrap();
        }
        node.close();
        reactor.shutdown(PATIENCE);
    }
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let there = reactor();
    let server = node(&there, "n1").serve(move |_: &StackLink, message: Message| {
        hears
            .lock()
            .unwrap()
            .push(String::from_utf8_lossy(message.body()).into_owned());
        Ok(())
    });
    let server = server.unwrap();
    let running = server.server().listen(any_port()).unwrap().start().unwrap();
    {
        let file = SpoolFile::open(scratch.path("spool")).unwrap();
        let reactor = reactor();
        let node = node(&reactor, "n2")
            .spool_file(&file)
            .serve(ignore)
            .unwrap();
        node.know("n1", running.address().to_string()).unwrap();
        let link = node.get_or_connect("n1").unwrap();
        assert_eq!(link.stats().kept, 20);
        link.send(Message::one_way("newer")).unwrap();
        eventually("all of it is acknowledged", || link.stats().kept == 0);
        node.close();
        reactor.shutdown(PATIENCE);
    }
    let mut expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    expected.push("newer".to_owned());
    assert_eq!(*heard.lock().unwrap(), expected);
    let file = SpoolFile::open(scratch.path("spool")).unwrap();
    let reactor = reactor();
    let node = node(&reactor, "n2")
        .spool_file(&file)
        .serve(ignore)
        .unwrap();
    node.know("n1", nowhere()).unwrap();
    assert_eq!(node.get_or_connect("n1").unwrap().stats().kept, 0);
    node.close();
    drop(running);
}

#[test]
fn a_service_on_a_worker_cannot_wait_for_the_disk_and_is_told_so() {
    let scratch = Scratch::new("worker");
    let file = SpoolFile::open(scratch.path("spool")).unwrap();
    let (tell, told) = channel();
    let there = reactor();
    let service = move |link: &StackLink, message: Message| {
        let refused = link.send(message.answer("waited"));
        let text = match refused {
            Err(SendError::Unsendable(_, error)) => (error.kind(), error.to_string()),
            other => panic!("{other:?}"),
        };
        tell.send(text).unwrap();
        link.send_then(message.answer("told"), |outcome| outcome.unwrap())?;
        Ok(())
    };
    let server = node(&there, "n1").spool_file(&file).serve(service).unwrap();
    let running = server.server().listen(any_port()).unwrap().start().unwrap();
    let here = reactor();
    let client = node(&here, "n2").serve(ignore).unwrap();
    client.know("n1", running.address().to_string()).unwrap();
    let link = client.get_or_connect("n1").unwrap();
    let answer = link
        .call_and_wait(Message::request("well?"), PATIENCE)
        .unwrap();
    assert_eq!(answer.body(), "told");
    let (kind, text) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(kind, ErrorKind::Misuse);
    assert!(text.contains("use the callbacks"), "{text}");
    client.close();
    drop(running);
}

#[test]
fn a_spool_of_messages_that_are_not_acknowledged_is_refused() {
    let scratch = Scratch::new("plain");
    let file = SpoolFile::open(scratch.path("spool")).unwrap();
    let reactor = reactor();
    let plain = Node::on(&reactor, "n1").unwrap().spool_file(&file);
    assert_eq!(plain.serve(ignore).unwrap_err().kind(), ErrorKind::Config);
}
