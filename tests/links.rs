//! The link engine under a protocol of the test's own: lines of text, without a login.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use netwheel::codec::{Codec, Framing, Lines, Utf8};
use netwheel::link::{
    CallError, Counter, HeartbeatRules, Hello, Kind, Link, LinkDialer, LinkListener, LinkRules,
    LoginKey, Reply, Wire,
};
use netwheel::sim::{Runs, World};
use netwheel::{
    Backoff, Client, Context, Error, Output, Pipeline, ReconnectingHandle, Result, RunningServer,
    Server,
};

const PLACE: &str = "10.0.0.1:7000";
const SECOND: Duration = Duration::from_secs(1);

/// A kind in one letter, a number, and a text: `?7 what?`, `=7 that`, `- news`, `p`, `q`.
struct TextWire;

impl Wire for TextWire {
    type Frame = String;
    type Codec = TextCodec;

    fn codec(&self) -> TextCodec {
        TextCodec
    }

    fn kind(&self, frame: &String) -> Result<Kind> {
        Ok(match frame.split_at_checked(1) {
            Some(("p", _)) => Kind::Ping,
            Some(("q", _)) => Kind::Pong,
            Some(("=", rest)) => {
                Kind::Answer(rest.split_once(' ').unwrap_or((rest, "")).0.parse()?)
            }
            _ => Kind::Message,
        })
    }

    fn check(&self, _: &String) -> Result<(), Error> {
        Ok(())
    }

    fn weigh(&self, frame: &String) -> usize {
        frame.len()
    }

    fn hello(&self, _: &Hello) -> String {
        unreachable!("there is no login")
    }

    fn reply(&self, _: &Reply) -> String {
        unreachable!("there is no login")
    }

    fn ping(&self) -> String {
        "p".to_owned()
    }

    fn pong(&self, _: &String) -> String {
        "q".to_owned()
    }

    fn set_question(&self, frame: &mut String, id: u64) {
        *frame = format!("?{id} {frame}");
    }
}

/// Lines of text, strictly.
struct TextCodec;

impl Codec for TextCodec {
    type In = String;
    type Out = String;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<String>> {
        Lines::new().then(Utf8::new()).decode(input)
    }

    fn encode(&mut self, out: String, dst: &mut Output) -> Result<()> {
        dst.tail().put_slice(out.as_bytes());
        dst.tail().push(b'\n');
        Ok(())
    }

    fn weigh(out: &String) -> usize {
        out.len()
    }
}

type Heard = Arc<Mutex<Vec<String>>>;

/// Answers questions with their text, and keeps the rest.
fn service(
    heard: &Heard,
) -> impl Fn(&Link<TextWire>, String) -> Result<()> + Send + Sync + 'static {
    let heard = Arc::clone(heard);
    move |link, frame| {
        if let Some((id, text)) = frame
            .strip_prefix('?')
            .and_then(|rest| rest.split_once(' '))
        {
            link.send(format!("={id} {text}"))?;
        } else {
            heard.lock().unwrap().push(frame);
        }
        Ok(())
    }
}

fn rules(rules: LinkRules, heartbeat: HeartbeatRules) -> LinkRules {
    let mut rules = rules;
    rules.handshake = None;
    rules.heartbeat = heartbeat.interval(10 * SECOND);
    rules
}

fn listen(world: &World, peers_max: usize) -> (LinkListener<TextWire>, Heard, RunningServer) {
    let heard = Heard::default();
    let rules = rules(LinkRules::listener(), HeartbeatRules::listener());
    let listener = LinkListener::on(world, TextWire)
        .rules(rules)
        .login_key(LoginKey::IpPort)
        .peers_max(peers_max)
        .serve(service(&heard))
        .unwrap();
    let links = listener.clone();
    let server = Server::on(world)
        .pipeline(move |peer| links.pipeline(peer.address))
        .listen(PLACE)
        .unwrap()
        .start()
        .unwrap();
    (listener, heard, server)
}

fn dial(world: &World) -> (Link<TextWire>, Heard, ReconnectingHandle<String>) {
    let heard = Heard::default();
    let dialer = LinkDialer::on(world, TextWire, "server")
        .rules(rules(LinkRules::dialer(), HeartbeatRules::dialer()))
        .serve(service(&heard))
        .unwrap();
    let link = dialer.link();
    let client = Client::on(world)
        .reconnect(Backoff::every(SECOND))
        .pipeline(move || dialer.pipeline())
        .connect(PLACE)
        .unwrap();
    (link, heard, client)
}

fn ask(link: &Link<TextWire>, text: &str) -> Receiver<Result<String, CallError>> {
    let (tell, told) = channel();
    link.call(text.to_owned(), 60 * SECOND, move |answer| {
        tell.send(answer).unwrap();
    })
    .unwrap();
    told
}

#[test]
fn a_protocol_without_a_login_is_up_as_soon_as_it_is_open() {
    Runs::seeds(0..30).run(|world| {
        let (listener, heard, _server) = listen(world, 10);
        let (link, pushed, client) = dial(world);
        link.send("- before it was up".to_owned()).unwrap();
        let answer = ask(&link, "what?");
        world.run_until(60 * SECOND, || link.stats().calls == 0);
        assert!(answer.try_recv().unwrap().unwrap().ends_with(" what?"));
        assert_eq!(*heard.lock().unwrap(), ["- before it was up"]);
        let (_, back) = listener.links().pop().unwrap();
        back.send("- news".to_owned()).unwrap();
        world.run_for(SECOND);
        assert_eq!(*pushed.lock().unwrap(), ["- news"]);
        world.run_for(100 * SECOND);
        assert!(
            link.is_up() && link.stats().rtt.is_some(),
            "pings keep it up"
        );
        client.close();
        world.run_for(SECOND);
        assert_eq!(listener.online(), 0);
    });
}

#[test]
fn a_peer_that_is_away_makes_room_for_another_when_there_is_none() {
    let world = World::new(1);
    let (listener, _, server) = listen(&world, 2);
    let (first, _, client) = dial(&world);
    assert!(world.run_until(SECOND, || first.is_up() && listener.online() == 1));
    let (_second, ..) = (dial(&world), ());
    assert!(world.run_until(SECOND, || listener.online() == 2));
    let (_third, _, _client) = dial(&world);
    world.run_for(SECOND / 2);
    assert_eq!(listener.online(), 2, "both are there");
    assert_eq!(server.stats().closes(netwheel::CloseReason::OverLimit), 1);
    client.close();
    world.run_for(3 * SECOND);
    assert_eq!(
        listener.online(),
        2,
        "the first has gone, and the third has come"
    );
    assert_eq!(listener.links().len(), 2);
}

#[test]
fn a_stage_before_the_engine_sees_what_comes_and_goes() {
    let world = World::new(2);
    let seen = Arc::new(Counter::new());
    let (_listener, heard, _server) = listen(&world, 10);
    let dialer = LinkDialer::on(&world, TextWire, "server")
        .rules(rules(LinkRules::dialer(), HeartbeatRules::dialer()))
        .serve(|_: &Link<TextWire>, _| Ok(()))
        .unwrap();
    let (link, count) = (dialer.link(), Arc::clone(&seen));
    let _client = Client::on(&world)
        .reconnect(Backoff::every(SECOND))
        .pipeline(move || {
            let watcher = Watcher(Arc::clone(&count));
            dialer.finish(Pipeline::new(dialer.codec()).stage("watcher", watcher))
        })
        .connect(PLACE)
        .unwrap();
    let answer = ask(&link, "what?");
    link.send("- that".to_owned()).unwrap();
    world.run_for(SECOND);
    assert!(answer.try_recv().unwrap().is_ok());
    assert_eq!(*heard.lock().unwrap(), ["- that"]);
    assert_eq!(seen.next(), 4, "two out, one in");
}

/// Counts what passes it.
struct Watcher(Arc<Counter>);

impl netwheel::Stage<String, String> for Watcher {
    fn on_inbound(
        &mut self,
        _: &mut Context<'_, String, String>,
        _: &mut String,
    ) -> Result<netwheel::Flow> {
        self.0.next();
        Ok(netwheel::Flow::Next)
    }

    fn on_outbound(
        &mut self,
        _: &mut Context<'_, String, String>,
        _: &mut String,
    ) -> Result<netwheel::Flow> {
        self.0.next();
        Ok(netwheel::Flow::Next)
    }
}
