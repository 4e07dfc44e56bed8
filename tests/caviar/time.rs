//! The rules of time, in worlds where time is virtual: `not before` is exact to a step.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use netwheel::caviar::{
    CaviarClient, CaviarCodec, CaviarError, CaviarErrorKind, CaviarServer, Message, MessageType,
    RequestContext, RunningCaviarServer, SessionContext,
};
use netwheel::link::HeartbeatRules;
use netwheel::sim::{Runs, World};
use netwheel::{Client, ClientState, CloseReason, Instant, Pipeline, Server};

const SECOND: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(5);
const SERVER: &str = "10.0.0.1:7001";

type Shared<T> = Arc<Mutex<Vec<T>>>;

fn serve(
    world: &World,
    listener: impl Fn(&SessionContext, RequestContext) -> netwheel::Result<()> + Send + Sync + 'static,
) -> RunningCaviarServer {
    CaviarServer::new(listener)
        .on(world)
        .listen(SERVER)
        .unwrap()
        .start()
        .unwrap()
}

/// Runs in small steps until `holds`, for at most so long; answers when that was.
fn moment(world: &World, limit: Duration, mut holds: impl FnMut() -> bool) -> Option<Instant> {
    let start = world.now();
    while world.now().since(start) < limit {
        world.run_for(STEP);
        if holds() {
            return Some(world.now());
        }
    }
    None
}

/// A server of the framework alone, that hears everything and says nothing.
fn mute(world: &World, heard: &Shared<(Instant, MessageType)>) -> netwheel::RunningServer {
    let heard = heard.clone();
    Server::on(world)
        .pipeline(move |_| {
            let heard = heard.clone();
            Pipeline::new(CaviarCodec::new()).handle(move |cx, message: Message| {
                heard.lock().unwrap().push((cx.now(), message.kind));
                Ok(())
            })
        })
        .listen(SERVER)
        .unwrap()
        .start()
        .unwrap()
}

/// Scenario 39, without pings.
#[test]
fn a_silent_client_is_closed_after_ten_seconds_and_not_before() {
    Runs::seeds(0..50).run(|world| {
        let server = serve(world, crate::echo);
        let client = Client::on(world)
            .pipeline(|| Pipeline::new(CaviarCodec::new()).handle(|_, _: Message| Ok(())))
            .connect(SERVER)
            .unwrap();
        assert!(world.run_until(SECOND, || server.sessions().online() == 1));
        let opened = world.now();
        let ended = moment(world, 20 * SECOND, || server.sessions().online() == 0);
        let silent = ended.expect("it is closed").since(opened);
        let slack = SECOND; // the way of the open, and that of the end
        assert!(
            silent + slack >= 10 * SECOND && silent <= 10 * SECOND + slack,
            "{silent:?}"
        );
        assert_eq!(world.net().stats().closes(CloseReason::HeartbeatLost), 1);
        world.run_for(SECOND);
        assert!(client.closed().is_some());
    });
}

/// Scenario 39, with pings.
#[test]
fn a_client_that_pings_stays_for_an_hour() {
    Runs::seeds(0..20).run(|world| {
        let server = serve(world, crate::echo);
        let client = CaviarClient::builder().on(world).start(SERVER).unwrap();
        world.run_for(3600 * SECOND);
        let stats = world.net().stats();
        assert_eq!((stats.accepted, stats.closed), (1, 0));
        assert!(client.stats().rtt.is_some());
        assert_eq!(server.sessions().online(), 1);
    });
}

#[test]
fn a_client_pings_after_five_seconds_of_silence_and_gives_a_dead_server_up_after_four() {
    Runs::seeds(0..50).run(|world| {
        let heard = Shared::default();
        let _server = mute(world, &heard);
        let states = Shared::default();
        let told = states.clone();
        let heartbeat = HeartbeatRules::dialer().interval(5 * SECOND).jitter(false);
        let _client = CaviarClient::builder()
            .on(world)
            .heartbeat(heartbeat)
            .on_state(move |state| told.lock().unwrap().push(state.clone()))
            .start(SERVER)
            .unwrap();
        let is_up = || matches!(states.lock().unwrap().last(), Some(ClientState::Up { .. }));
        let up = moment(world, SECOND, is_up).expect("it is up");
        let down = moment(world, 60 * SECOND, || !is_up()).expect("it notices");
        let silent = down.since(up);
        assert!(
            silent + 2 * STEP >= 20 * SECOND && silent <= 20 * SECOND + 2 * STEP,
            "{silent:?}"
        );
        let heard = heard.lock().unwrap();
        let pings: Vec<_> = heard
            .iter()
            .map(|(at, kind)| (at.since(up), *kind))
            .collect();
        assert_eq!(pings.len(), 3, "{pings:?}");
        for (number, (at, kind)) in (1..).zip(&pings) {
            assert_eq!(*kind, MessageType::Ping);
            assert!(*at + 2 * STEP >= number * 5 * SECOND, "{pings:?}");
        }
    });
}

#[test]
fn a_client_comes_back_two_seconds_after_each_loss() {
    Runs::seeds(0..50).run(|world| {
        let states = Shared::default();
        let told = states.clone();
        let client = CaviarClient::builder()
            .on(world)
            .on_state(move |state| told.lock().unwrap().push(state.clone()))
            .start(SERVER)
            .unwrap();
        world.run_for(7 * SECOND);
        let server = serve(world, crate::echo);
        assert!(world.run_until(3 * SECOND, || server.sessions().online() == 1));
        server.shutdown(SECOND);
        world.run_for(SECOND);
        let server = serve(world, crate::echo);
        assert!(world.run_until(4 * SECOND, || server.sessions().online() == 1));
        let states = states.lock().unwrap().clone();
        let waits: Vec<_> = states
            .iter()
            .filter_map(|state| match state {
                ClientState::Waiting(time) => Some(*time),
                _ => None,
            })
            .collect();
        assert!(
            waits.len() >= 3 && waits.iter().all(|wait| *wait == 2 * SECOND),
            "{waits:?}"
        );
        drop(client);
    });
}

/// Scenarios 33 and 34, by the clock.
#[test]
fn each_callback_comes_once_and_a_timeout_is_exact() {
    const TIMEOUT: Duration = Duration::from_millis(200);
    const COUNT: usize = 100;
    Runs::seeds(0..50).run(|world| {
        let kept = Shared::<RequestContext>::default();
        let keep = kept.clone();
        let _server = serve(world, move |_: &SessionContext, request: RequestContext| {
            keep.lock().unwrap().push(request);
            Ok(())
        });
        let client = CaviarClient::builder().on(world).start(SERVER).unwrap();
        world.run_for(SECOND);
        let ended = Shared::<(usize, bool)>::default();
        let asked = world.now();
        for number in 0..COUNT {
            let ended = ended.clone();
            let done = move |outcome: Result<Bytes, CaviarError>| {
                let answered = outcome.map_err(|error| {
                    assert_eq!(error.kind(), CaviarErrorKind::ClientReqTimeout);
                });
                ended.lock().unwrap().push((number, answered.is_ok()));
            };
            client
                .timeout(TIMEOUT)
                .send_async(number.to_string(), done)
                .unwrap();
        }
        let mut dice = world.seed() | 1;
        let mut unanswered_before = true;
        while ended.lock().unwrap().len() < COUNT {
            world.run_for(STEP);
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let due = kept.lock().unwrap().pop().filter(|_| dice >> 62 == 0);
            if let Some(request) = due {
                request.respond("!").unwrap();
            }
            let waited = world.now().since(asked);
            let timed_out = ended.lock().unwrap().iter().any(|(_, answered)| !answered);
            unanswered_before &= !(timed_out && waited + STEP < TIMEOUT);
            assert!(waited < TIMEOUT + SECOND, "a callback is missing");
        }
        assert!(unanswered_before, "too early");
        world.run_for(10 * SECOND);
        let mut numbers: Vec<_> = ended
            .lock()
            .unwrap()
            .iter()
            .map(|(number, _)| *number)
            .collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..COUNT), "each once");
        assert_eq!(client.stats().calls, 0);
    });
}

#[test]
fn requests_survive_servers_that_die_and_none_is_answered_twice() {
    const COUNT: usize = 60;
    Runs::seeds(0..100).run(|world| {
        let client = CaviarClient::builder()
            .on(world)
            .timeout(60 * SECOND)
            .start(SERVER)
            .unwrap();
        let client = client.resending();
        let ended = Shared::<(usize, bool)>::default();
        let mut server = Some(serve(world, crate::echo));
        for number in 0..COUNT {
            let done = {
                let ended = ended.clone();
                move |outcome: Result<Bytes, CaviarError>| {
                    ended
                        .lock()
                        .unwrap()
                        .push((number, outcome.is_ok_and(|body| body == number.to_string())));
                }
            };
            client.send_async(number.to_string(), done).unwrap();
            world.run_for(20 * STEP);
            if number % 15 == 7 {
                drop(server.take());
                world.run_for(SECOND);
                server = Some(serve(world, crate::echo));
            }
        }
        world.run_for(30 * SECOND);
        let mut ended = std::mem::take(&mut *ended.lock().unwrap());
        ended.sort_unstable();
        assert!(ended.iter().map(|(number, _)| *number).eq(0..COUNT));
        assert!(ended.iter().all(|(_, answered)| *answered));
    });
}
