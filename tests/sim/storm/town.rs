//! A server and its clients, each on a node of its own, that crash and come back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::sim::{Node, World};
use netwheel::{
    Backoff, Client, CloseReason, Context, Event, Failure, Group, Handler, Instant, Net, Pipeline,
    ReconnectingHandle, Result, RunningServer, Server, SlowMember, TimerKey, WhileDown,
};

use super::beacon;
use super::guard::{self, Handles};
use super::ledger::{Ledger, NOTE, QUESTION, Tag};
use crate::{Dice, Shared};

/// How a client dials the server.
pub const SERVER: &str = "server:7000";
/// Questions of each client: with their answers more than 200 messages a world.
pub const QUESTIONS: u32 = 60;
/// Questions that are asked at once.
const WINDOW: usize = 8;
const TICK: Duration = Duration::from_millis(250);
/// Ticks without a word after which a client holds its connection for dead.
const TICKS_MAX: u32 = 12;

/// Where a server answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Inline,
    ByHandle,
    OnPool,
    ToGroup,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Inline, Self::ByHandle, Self::OnPool, Self::ToGroup];
}

pub type Eye = Shared<Ledger>;

/// The program of the server: what it gets goes into the ledger, and back.
pub fn serve(net: &Net, way: Way, life: u32, eye: &Eye) -> RunningServer {
    let (pool, group) = (
        net.executor(2).queue_max(64),
        Group::slow(LengthField::u16(), SlowMember::Close),
    );
    let eye = Arc::clone(eye);
    Server::on(net)
        .pipeline(move |_| {
            let eye = Arc::clone(&eye);
            let note = move |connection, message: &Bytes| {
                eye.lock().unwrap().note(life, connection, message);
            };
            let builder = Pipeline::new(LengthField::u16());
            match way {
                Way::Inline => builder.handle(move |cx, message| {
                    note(cx.id(), &message);
                    cx.write(message)
                }),
                Way::ByHandle => builder.handle(move |cx, message| {
                    note(cx.id(), &message);
                    cx.handle().try_send(message)?;
                    Ok(())
                }),
                Way::OnPool => builder.handle_on(&pool, move |cx, message| {
                    note(cx.id(), &message);
                    cx.write(message)
                }),
                Way::ToGroup => builder.handler(Member {
                    group: group.clone(),
                    note,
                }),
            }
        })
        .listen("0.0.0.0:7000")
        .unwrap()
        .start()
        .unwrap()
}

/// Answers to everybody.
struct Member<F> {
    group: Group<Bytes>,
    note: F,
}

impl<F: Fn(netwheel::ConnectionId, &Bytes) + 'static> Handler<Bytes, Bytes> for Member<F> {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        self.group.join(&cx.handle())?;
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result<()> {
        (self.note)(cx.id(), &message);
        self.group
            .broadcast(message)
            .map_err(|_| Failure::new(CloseReason::OverLimit))
    }
}

/// What a client keeps through its crashes.
#[derive(Default)]
pub struct Disk {
    answered: BTreeSet<u32>,
    serial: u32,
}

impl Disk {
    pub fn is_done(&self) -> bool {
        self.answered.len() as u32 == QUESTIONS
    }

    fn tag(&mut self, kind: u8, client: u8, question: u32) -> Tag {
        self.serial += 1;
        Tag {
            kind,
            client,
            serial: self.serial,
            question,
        }
    }
}

/// A client, as the test sees it.
pub struct Asker {
    number: u8,
    pub disk: Shared<Disk>,
    handle: Shared<Option<ReconnectingHandle<Bytes>>>,
}

impl Asker {
    /// Puts the program of a client on a node.
    pub fn start(node: &Node, number: u8, eye: &Eye) -> Self {
        let asker = Self {
            number,
            disk: Shared::default(),
            handle: Shared::default(),
        };
        let (disk, handle) = (asker.disk.clone(), asker.handle.clone());
        let eye = Arc::clone(eye);
        node.start(move |net| {
            let dialled = dial(net, number, &disk, &eye);
            *handle.lock().unwrap() = Some(dialled.clone());
            dialled
        });
        asker
    }

    /// Sends something once, whether or not there is a connection.
    pub fn note(&self) {
        let handle = self.handle.lock().unwrap();
        let Some(handle) = handle.as_ref() else {
            return;
        };
        let tag = self.disk.lock().unwrap().tag(NOTE, self.number, 0);
        // Refused where too much waits already.
        let _ = handle.try_send(tag.message());
    }

    pub fn is_done(&self) -> bool {
        self.disk.lock().unwrap().is_done()
    }
}

fn dial(net: &Net, number: u8, disk: &Shared<Disk>, eye: &Eye) -> ReconnectingHandle<Bytes> {
    let (disk, eye) = (Arc::clone(disk), Arc::clone(eye));
    Client::on(net)
        .reconnect(Backoff::every(Duration::from_millis(200)).jitter(0.5))
        .while_down(WhileDown::queue())
        .pipeline(move || {
            Pipeline::new(LengthField::u16()).handler(Asking {
                number,
                eye: Arc::clone(&eye),
                disk: Arc::clone(&disk),
                asked: BTreeSet::new(),
                due: Instant::START,
                silent: 0,
            })
        })
        .connect(SERVER)
        .unwrap()
}

/// One connection of a client.
struct Asking {
    number: u8,
    eye: Eye,
    disk: Shared<Disk>,
    /// Questions that wait for their answers.
    asked: BTreeSet<u32>,
    /// When the next tick is due.
    due: Instant,
    silent: u32,
}

impl Asking {
    /// Asks what has no answer yet; all of the window again, when `anew`.
    fn ask(&mut self, cx: &mut Context<'_, Bytes, Bytes>, anew: bool) -> Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let open: Vec<u32> = (0..QUESTIONS)
            .filter(|question| !disk.answered.contains(question))
            .take(WINDOW)
            .collect();
        self.asked.retain(|question| open.contains(question));
        for question in open {
            if self.asked.insert(question) || anew {
                let tag = disk.tag(QUESTION, self.number, question);
                cx.write(tag.message())?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, cx: &mut Context<'_, Bytes, Bytes>) {
        cx.timer(TICK, TimerKey(0));
        self.due = cx.clock().now() + TICK;
    }
}

impl Handler<Bytes, Bytes> for Asking {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        self.tick(cx);
        self.ask(cx, false)
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result<()> {
        self.silent = 0;
        let checked = self.eye.lock().unwrap().check(&message);
        let Some(tag) = checked else {
            return Ok(());
        };
        if (tag.kind, tag.client) != (QUESTION, self.number) {
            return Ok(());
        }
        self.disk.lock().unwrap().answered.insert(tag.question);
        self.ask(cx, false)
    }

    fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result<()> {
        if !matches!(event, Event::Timer(_)) {
            return Ok(());
        }
        if cx.now() < self.due {
            let fault = format!("a timer of {:?} at {:?}", self.due, cx.now());
            self.eye.lock().unwrap().faults.push(fault);
        }
        self.tick(cx);
        // Who waits for nothing has nothing to fear from silence.
        self.silent = if self.asked.is_empty() {
            0
        } else {
            self.silent + 1
        };
        if self.silent > TICKS_MAX {
            return Err(Failure::new(CloseReason::HeartbeatLost));
        }
        // All that waits, so that a word comes back even when everything was answered.
        self.ask(cx, self.silent.is_multiple_of(3))
    }
}

/// A server and two clients.
pub struct Town {
    pub server: Node,
    pub nodes: [Node; 2],
    pub askers: [Asker; 2],
    pub handles: Handles,
    pub eye: Eye,
    pub way: Way,
}

impl Town {
    pub fn build(world: &World, way: Way) -> Self {
        let workers = 1 + world.seed() as usize / 4 % 2;
        let (server, eye) = (world.node_of("server", workers), Eye::default());
        let (theirs, mut life) = (Arc::clone(&eye), 0);
        let handles = Handles::default();
        let guarded = Arc::clone(&handles);
        server.start(move |net| {
            life += 1;
            let guard = guard::serve(net, &guarded);
            (serve(net, way, life, &theirs), guard, beacon::answer(net))
        });
        let nodes = [world.node("a"), world.node("b")];
        let to = (server.address(), 7000).into();
        nodes[1].start(move |net| beacon::send(net, to));
        let askers = [0, 1].map(|number| Asker::start(&nodes[number], number as u8, &eye));
        Self {
            server,
            nodes,
            askers,
            handles,
            eye,
            way,
        }
    }

    pub fn is_done(&self) -> bool {
        self.askers.iter().all(Asker::is_done)
    }

    /// Lets everything go wrong for a while.
    pub fn weather(&self, world: &World, dice: &mut Dice) {
        for _ in 0..30 {
            for _ in 0..dice.below(3) {
                self.askers[dice.below(2)].note();
            }
            world.run_for(Duration::from_millis(1 << dice.below(10)));
        }
    }
}
