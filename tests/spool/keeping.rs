//! When a message counts as accepted, told by a spool that answers when the test says so.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use netwheel::link::{CallError, LinkDialer, LinkRules, OutboxRules, SendError, SpoolFile};
use netwheel::stack::{Message, Node, StackLink, StackWire};
use netwheel::{Error, Executor, Net, Reactor};

use crate::memory::MemoryDisk;
use crate::util::{PATIENCE, Scratch, any_port, eventually};

/// A link that nobody dials: what it takes stays.
fn link(net: &impl AsRef<Net>, disk: &MemoryDisk) -> StackLink {
    let mut rules = LinkRules::dialer();
    rules.outbox = OutboxRules::default().acknowledged(true);
    let dialer = LinkDialer::on(net, StackWire::default(), "n1").rules(rules);
    let dialer = dialer.spool(disk.spool());
    dialer.serve(|_: &StackLink, _| Ok(())).unwrap().link()
}

fn reactor() -> Reactor {
    Reactor::builder().workers(1).start().unwrap()
}

fn message() -> Message {
    Message::one_way("hello")
}

#[test]
fn whoever_sends_waits_until_the_message_is_safe() {
    let (reactor, disk) = (reactor(), MemoryDisk::default());
    let link = link(&reactor, &disk);
    let sender = link.clone();
    let (tell, told) = channel();
    let thread = thread::spawn(move || tell.send(sender.send(message())).unwrap());
    eventually("the disk has it", || !disk.is_idle());
    assert!(told.try_recv().is_err(), "it is not safe yet");
    disk.sync(1, true);
    told.recv_timeout(PATIENCE).unwrap().unwrap();
    thread.join().unwrap();
    assert_eq!(link.stats().kept, 1);
}

#[test]
fn when_the_disk_breaks_everybody_is_told_and_gets_back_what_is_not_safe() {
    let (reactor, disk) = (reactor(), MemoryDisk::default());
    let link = link(&reactor, &disk);
    let (tell, safe) = channel::<Result<(), Error>>();
    link.send_then(message(), move |outcome| tell.send(outcome).unwrap())
        .unwrap();
    disk.sync(1, true);
    safe.recv_timeout(PATIENCE).unwrap().unwrap();

    let (tell, told) = channel();
    link.send_then(message(), move |outcome| tell.send(outcome).unwrap())
        .unwrap();
    let (tell, answered) = channel();
    let question = Message::request("well?");
    link.call(question, PATIENCE, move |answer| tell.send(answer).unwrap())
        .unwrap();
    let sender = link.clone();
    let (tell, returned) = channel();
    let thread = thread::spawn(move || tell.send(sender.send(message())).unwrap());
    eventually("all are on their way", || link.stats().kept == 4);
    disk.fail();

    let error = told.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(error.to_string().contains("the disk is broken"));
    let answer = answered.recv_timeout(PATIENCE).unwrap();
    assert_eq!(answer.unwrap_err(), CallError::Unkept);
    let refused = returned.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(matches!(&refused, SendError::Unsendable(..)), "{refused}");
    assert_eq!(refused.into_inner().body(), "hello");
    thread.join().unwrap();
    assert_eq!(link.stats().kept, 1, "what was safe is still sent");
    assert!(link.send(message()).is_err());
}

#[test]
fn a_callback_is_told_also_when_its_link_is_dropped_before_the_disk_answers() {
    let (reactor, disk) = (reactor(), MemoryDisk::default());
    let link = link(&reactor, &disk);
    let (tell, told) = channel();
    link.send_then(message(), move |outcome| tell.send(outcome).unwrap())
        .unwrap();
    drop(link);
    assert!(told.recv_timeout(PATIENCE).unwrap().is_err());
    assert!(told.recv().is_err(), "once");
    reactor.shutdown(PATIENCE);
}

#[test]
fn a_file_that_is_full_gives_messages_back_and_takes_more_once_there_is_room() {
    let scratch = Scratch::new("full");
    let file = SpoolFile::builder();
    let file = file.bytes_max(1000).open(scratch.path("spool")).unwrap();
    let acknowledged = OutboxRules::default().acknowledged(true);
    let (there, here) = (reactor(), reactor());
    let (go, gone) = channel();
    let gone = Mutex::new(gone);
    let pool = Executor::new(1);
    let server = Node::on(&there, "n1").unwrap().outbox(acknowledged.clone());
    let server = server
        .serve_on(&pool, move |_: &StackLink, _| {
            gone.lock().unwrap().recv_timeout(PATIENCE)?;
            Ok(())
        })
        .unwrap();
    let running = server.server().listen(any_port()).unwrap().start().unwrap();
    let node = Node::on(&here, "n2").unwrap().outbox(acknowledged);
    let node = node
        .spool_file(&file)
        .serve(|_: &StackLink, _| Ok(()))
        .unwrap();
    node.know("n1", running.address().to_string()).unwrap();
    let link = node.get_or_connect("n1").unwrap();
    let large = || Message::one_way(vec![b'.'; 900]);
    link.send(large()).unwrap();
    let refused = link.send(large()).unwrap_err();
    assert!(refused.is_full(), "{refused}");
    // The first is handled, acknowledged, and forgotten.
    go.send(()).unwrap();
    go.send(()).unwrap();
    eventually("there is room again", || link.send(large()).is_ok());
    eventually("all of it is acknowledged", || link.stats().kept == 0);
    node.close();
    drop(running);
}
