//! Processes that are killed at any moment, and what their successors find on the disk.
//!
//! A killed process takes nothing back that it has given to the system; what a machine loses that loses its power is
//! tried in `src/link/spool_file/tests.rs`, on a disk in memory.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netwheel::link::{OutboxRules, SpoolFile, Wire};
use netwheel::stack::{Message, Node, NodeBuilder, StackLink, StackWire};
use netwheel::{Backoff, Reactor, Result, RunningServer};

use crate::util::{Scratch, any_port, eventually};

/// Deaths of each test.
const DEATHS: u64 = 12;

fn node(reactor: &Reactor, name: &str) -> NodeBuilder {
    Node::on(reactor, name)
        .unwrap()
        .reconnect(Backoff::every(Duration::from_millis(5)))
        .outbox(OutboxRules::default().acknowledged(true))
}

fn reactor() -> Reactor {
    Reactor::builder().workers(1).start().unwrap()
}

fn number(message: &Message) -> u64 {
    String::from_utf8_lossy(message.body()).parse().unwrap()
}

/// This program again, as a process of its own that does one thing until it is killed.
fn spawn(role: &str, folder: &Path, more: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("crash::{role}"),
            "--ignored",
            "--nocapture",
        ])
        .env("SPOOL_FOLDER", folder)
        .env("SPOOL_MORE", more)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// Reads lines of `word NUMBER` until `enough` of them have come; kills the child there, and reads what else it said.
fn kill_after(
    enough: u64,
    word: &str,
    (mut child, output): (Child, BufReader<ChildStdout>),
) -> Vec<u64> {
    let mut numbers = Vec::new();
    for line in output.lines() {
        let line = line.unwrap();
        // The harness writes before the first of them, on the same line.
        let Some((_, number)) = line.rsplit_once(word) else {
            continue;
        };
        if let Ok(number) = number.trim().parse() {
            numbers.push(number);
        }
        if numbers.len() as u64 == enough {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(
        numbers.len() as u64 >= enough,
        "it died by itself: {numbers:?}"
    );
    numbers
}

/// A number of chance for each death.
const fn chance(death: u64) -> u64 {
    death
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
        >> 33
}

fn from_parent() -> (std::path::PathBuf, String) {
    let folder = std::env::var_os("SPOOL_FOLDER").expect("run by other tests only");
    (folder.into(), std::env::var("SPOOL_MORE").unwrap())
}

#[test]
#[ignore = "the child of other tests"]
fn sender() {
    let (folder, more) = from_parent();
    let (place, first) = more.split_once(' ').unwrap();
    let file = SpoolFile::open(folder.join("spool")).unwrap();
    let reactor = reactor();
    let node = node(&reactor, "n2")
        .spool_file(&file)
        .serve(|_: &StackLink, _| Ok(()))
        .unwrap();
    node.know("n1", place).unwrap();
    let link = node.get_or_connect("n1").unwrap();
    // As fast as there is room, by both ways to send.
    for n in first.parse::<u64>().unwrap().. {
        let accepted = move || writeln!(std::io::stdout(), "accepted {n}").unwrap();
        loop {
            let message = Message::one_way(n.to_string()).attach("filler", vec![b'.'; 200]);
            let sent = if n % 64 == 0 {
                link.send(message).map(|()| accepted())
            } else {
                link.send_then(message, move |outcome| {
                    outcome.unwrap();
                    accepted();
                })
            };
            match sent {
                Ok(()) => break,
                Err(refused) if refused.is_full() => std::thread::yield_now(),
                Err(refused) => panic!("{refused}"),
            }
        }
    }
}

#[test]
fn a_sender_that_is_killed_loses_nothing_it_accepted_and_nothing_comes_twice() {
    let scratch = Scratch::new("killed-sender");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let reactor = reactor();
    let service = move |_: &StackLink, message: Message| {
        hears.lock().unwrap().push(number(&message));
        Ok(())
    };
    let server = node(&reactor, "n1").serve(service).unwrap();
    let running = server.server().listen(any_port()).unwrap().start().unwrap();
    let mut accepted = Vec::new();
    for death in 0..DEATHS {
        let more = format!("{} {}", running.address(), death * 1_000_000);
        let child = spawn("sender", &scratch.path(""), &more);
        accepted.extend(kill_after(1 + chance(death) % 700, "accepted ", child));
    }
    // The last of them only sends what the others owe.
    let file = SpoolFile::open(scratch.path("spool")).unwrap();
    let here = self::reactor();
    let heir = node(&here, "n2")
        .spool_file(&file)
        .serve(|_: &StackLink, _| Ok(()))
        .unwrap();
    heir.know("n1", running.address().to_string()).unwrap();
    let link = heir.get_or_connect("n1").unwrap();
    eventually("all of it is acknowledged", || link.stats().kept == 0);
    let heard = heard.lock().unwrap();
    assert!(heard.is_sorted_by(|a, b| a < b), "once and in order");
    for number in accepted {
        assert!(
            heard.binary_search(&number).is_ok(),
            "{number} was accepted"
        );
    }
    heir.close();
}

#[test]
#[ignore = "the child of other tests"]
fn receiver() {
    let (folder, place) = from_parent();
    let file = SpoolFile::open(folder.join("cursor")).unwrap();
    let mut effects = OpenOptions::new();
    let effects = effects
        .create(true)
        .append(true)
        .open(folder.join("effects"))
        .unwrap();
    writeln!(&effects, "born").unwrap();
    let reactor = reactor();
    let service = move |_: &StackLink, message: Message| -> Result<()> {
        let at = StackWire::default().stamp_of(&message)?.position.unwrap();
        // One write for each, which outlives the process.
        let line = format!("{} {} {}\n", at.epoch, at.seq, number(&message));
        (&effects).write_all(line.as_bytes())?;
        writeln!(std::io::stdout(), "handled {}", number(&message))?;
        Ok(())
    };
    let node = node(&reactor, "n1")
        .spool_file(&file)
        .serve(service)
        .unwrap();
    node.know("n2", place.as_str()).unwrap();
    node.get_or_connect("n2").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_receiver_that_is_killed_misses_nothing_and_hears_again_only_what_it_had_just_handled() {
    let scratch = Scratch::new("killed-receiver");
    let reactor = reactor();
    let server = node(&reactor, "n2")
        .serve(|_: &StackLink, _| Ok(()))
        .unwrap();
    let running = server.server().listen(any_port()).unwrap().start().unwrap();
    let place = running.address().to_string();
    let mut sent = 0;
    for death in 0..DEATHS {
        let child = spawn("receiver", &scratch.path(""), &place);
        eventually("it has logged in", || {
            server.link("n1").is_some_and(|link| link.is_up())
        });
        let link = server.link("n1").unwrap();
        // Enough for it to die of, and not so much that the last takes long.
        let enough = 1 + chance(death) % 300;
        for _ in 0..enough + 20 {
            while link.send(Message::one_way(sent.to_string())).is_err() {
                std::thread::yield_now();
            }
            sent += 1;
        }
        kill_after(enough, "handled ", child);
        eventually("its end is seen", || !link.is_up());
    }
    let (child, output) = spawn("receiver", &scratch.path(""), &place);
    let link = server.link("n1").unwrap();
    eventually("all of it is acknowledged", || link.stats().kept == 0);
    kill(child, output);
    check_effects(&fs::read_to_string(scratch.path("effects")).unwrap(), sent);
    end(running, reactor);
}

fn kill(mut child: Child, output: BufReader<ChildStdout>) {
    drop(output);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn end(running: RunningServer, reactor: Reactor) {
    drop(running);
    reactor.shutdown(Duration::from_secs(5));
}

/// Each life goes on behind a place that the one before had reached, or before it: the same messages, at the same
/// positions, once each.
fn check_effects(effects: &str, sent: u64) {
    let mut positions = vec![None; usize::try_from(sent).unwrap()];
    let mut last = None;
    let mut newest = None;
    for line in effects.lines() {
        if line == "born" {
            last = None;
            continue;
        }
        let words: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let [epoch, seq, number] = words[..] else {
            panic!("{line:?}")
        };
        assert!(
            last.is_none_or(|last| number == last + 1),
            "in order within a life: {line}"
        );
        assert!(
            newest.map_or(0, |newest| newest + 1) >= number,
            "none left out: {line}"
        );
        let place = &mut positions[usize::try_from(number).unwrap()];
        assert!(
            place.is_none_or(|place| place == (epoch, seq)),
            "a repeat has its name: {line}"
        );
        *place = Some((epoch, seq));
        (last, newest) = (Some(number), newest.max(Some(number)));
    }
    assert!(positions.iter().all(Option::is_some), "nothing is lost");
}
