//! Many connections at once, on the pool and off it, with everything that may come between.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::sim::World;
use netwheel::{
    Client, CloseReason, ConnectionHandle, Context, Event, Executor, Flow, Net, Pipeline, Result,
    RunningServer, Server, Stage, TimerKey, TrySendError,
};

use crate::{Dice, HOUR, MINUTE, Runs, Shared, take};

const PLACE: &str = "10.0.0.1:7000";

/// Where a server answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Inline,
    ByHandle,
    OnPool,
    ByJobs,
}

/// What a server is like in one world.
#[derive(Clone, Debug)]
struct Plan {
    limits: ConnectionLimits,
    auto_pause: bool,
    way: Way,
    queue_max: usize,
    moody: bool,
    answer_bytes_max: usize,
}

impl Plan {
    fn draw(dice: &mut Dice) -> Self {
        let mut limits = ConnectionLimits::default();
        if dice.below(2) == 0 {
            limits.high_water_bytes = 1 + dice.below(2000);
            limits.low_water_bytes = dice.below(limits.high_water_bytes);
        }
        if dice.below(2) == 0 {
            limits.reads_per_turn = 1 + dice.below(3);
            limits.read_bytes_per_turn = 1 + dice.below(1000);
            limits.write_bytes_per_turn = 1 + dice.below(1000);
        }
        Self {
            limits,
            auto_pause: dice.below(4) > 0,
            way: [Way::Inline, Way::ByHandle, Way::OnPool, Way::ByJobs][dice.below(4)],
            queue_max: [1, 7, 1024][dice.below(3)],
            moody: dice.below(2) == 0,
            answer_bytes_max: [1, 100, 5000][dice.below(3)],
        }
    }

    /// The question, and bytes that follow from it.
    fn answer(&self, question: &[u8]) -> Bytes {
        let sum = question.iter().map(|byte| u64::from(*byte)).sum();
        let more = Dice(sum).below(self.answer_bytes_max);
        let mut answer = question.to_vec();
        answer.resize(question.len() + more, b'.');
        answer.into()
    }

    fn pipeline(&self, pool: &Executor) -> Pipeline<Bytes, Bytes> {
        let mut builder = Pipeline::new(LengthField::u16());
        if self.moody {
            builder = builder.stage("moody", Moody(Dice(9)));
        }
        let (plan, jobs) = (self.clone(), pool.clone());
        match self.way {
            Way::Inline => builder.handle(move |cx, question| cx.write(plan.answer(&question))),
            Way::ByHandle => builder.handle(move |cx, question| {
                cx.handle().try_send(plan.answer(&question))?;
                Ok(())
            }),
            Way::OnPool => {
                let alone = Alone::default();
                builder.handle_on(pool, move |cx, question| {
                    alone.while_alone(|| cx.write(plan.answer(&question)))
                })
            }
            Way::ByJobs => builder.handle(move |cx, question| {
                let plan = plan.clone();
                let job = move || plan.answer(&question);
                cx.offload(&jobs, job, |cx, answer| cx.write(answer))
            }),
        }
    }

    fn serve(&self, net: &Net) -> (RunningServer, Executor) {
        let pool = net.executor(4).queue_max(self.queue_max);
        let (plan, lanes) = (self.clone(), pool.clone());
        let server = Server::on(net)
            .limits(self.limits.clone())
            .auto_pause(self.auto_pause)
            .pipeline(move |_| plan.pipeline(&lanes))
            .listen(PLACE)
            .unwrap()
            .start()
            .unwrap();
        (server, pool)
    }
}

/// Finds out whether a connection's handler runs twice at once.
#[derive(Default)]
struct Alone(Arc<AtomicBool>);

impl Alone {
    fn while_alone<R>(&self, work: impl FnOnce() -> R) -> R {
        assert!(!self.0.swap(true, Ordering::SeqCst), "two at once");
        let result = work();
        self.0.store(false, Ordering::SeqCst);
        result
    }
}

/// Pauses now and then until a timer resumes, and flushes when it likes.
struct Moody(Dice);

impl<In: 'static, Out: 'static> Stage<In, Out> for Moody {
    fn on_inbound(&mut self, cx: &mut Context<'_, In, Out>, _: &mut In) -> Result<Flow> {
        if self.0.below(4) == 0 {
            cx.pause_reading();
            cx.timer(
                Duration::from_micros(self.0.below(5000) as u64),
                TimerKey(0),
            );
        }
        if self.0.below(8) == 0 {
            cx.flush();
        }
        Ok(Flow::Next)
    }

    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<Flow> {
        if let Event::Timer(_) = event {
            cx.resume_reading();
        }
        Ok(Flow::Next)
    }
}

/// A client that asks, and keeps the answers.
struct Asker {
    handle: ConnectionHandle<Bytes>,
    unsent: VecDeque<Bytes>,
    questions: Vec<Bytes>,
    answers: Shared<Vec<Bytes>>,
}

impl Asker {
    fn new(world: &World, dice: &mut Dice, questions: usize) -> Self {
        let answers: Shared<Vec<Bytes>> = Shared::default();
        let keep = answers.clone();
        // In a narrow and slow world a server may take long to get rid of one answer.
        let mut limits = ConnectionLimits::default();
        limits.write_stall_timeout = HOUR;
        let handle = Client::on(world)
            .limits(limits)
            .auto_pause(false)
            .pipeline(move || {
                let keep = keep.clone();
                Pipeline::new(LengthField::u16()).handle(move |_, answer| {
                    keep.lock().unwrap().push(answer);
                    Ok(())
                })
            })
            .connect(PLACE)
            .unwrap();
        let questions: Vec<Bytes> = (0..questions)
            .map(|number| {
                let more = dice.below(200);
                let mut question = format!("{number:06}").into_bytes();
                question.extend_from_slice(&dice.bytes(more));
                question.into()
            })
            .collect();
        Self {
            handle,
            unsent: questions.iter().cloned().collect(),
            questions,
            answers,
        }
    }

    /// Sends some of what is unsent.
    fn ask(&mut self, count: usize) {
        for _ in 0..count {
            let Some(question) = self.unsent.pop_front() else {
                return;
            };
            match self.handle.try_send(question) {
                Ok(()) => {}
                Err(TrySendError::Full(question)) => return self.unsent.push_front(question),
                Err(refused) => panic!("{refused}: {:?}", self.handle.closed()),
            }
        }
    }

    fn is_done(&self) -> bool {
        self.answers.lock().unwrap().len() >= self.questions.len()
    }

    fn check(&self, plan: &Plan) {
        let mut answers = take(&self.answers);
        if plan.way == Way::ByJobs {
            answers.sort_unstable();
        }
        let expected: Vec<_> = self.questions.iter().map(|ask| plan.answer(ask)).collect();
        let same = answers.iter().zip(&expected).take_while(|(a, b)| a == b);
        let same = same.count();
        assert!(
            answers == expected,
            "{} answers to {} questions, the first {same} right; {plan:?}",
            answers.len(),
            expected.len(),
        );
    }
}

fn everybody_is_answered(world: &World, askers: usize, questions: usize) {
    let mut dice = Dice(world.seed());
    let plan = Plan::draw(&mut dice);
    all_are_answered(world, &plan, dice, askers, questions);
}

fn all_are_answered(world: &World, plan: &Plan, mut dice: Dice, askers: usize, questions: usize) {
    let (server, pool) = plan.serve(world.net());
    let mut askers: Vec<_> = (0..askers)
        .map(|_| Asker::new(world, &mut dice, questions))
        .collect();
    while askers.iter().any(|asker| !asker.unsent.is_empty()) {
        let chosen = dice.below(askers.len());
        askers[chosen].ask(1 + dice.below(20));
        world.run_for(Duration::from_micros(dice.below(2000) as u64));
    }
    let all = || askers.iter().all(Asker::is_done);
    world.run_until(HOUR, all);
    for asker in &askers {
        asker.check(plan);
    }
    for asker in &askers[1..] {
        asker.handle.close_after_flush();
    }
    world.run_until(HOUR, || server.connections() == 1);
    assert_eq!(server.connections(), 1);
    assert_eq!(server.shutdown(MINUTE).aborted, 0);
    let first = askers[0].handle.closed();
    world.run_until_idle();
    assert!(
        matches!(
            first.or_else(|| askers[0].handle.closed()),
            Some(CloseReason::PeerClosed)
        ),
        "{first:?}"
    );
    let stats = world.net().stats();
    assert_eq!(stats.active(), 0);
    assert_eq!(
        (stats.timers_live, stats.panics, stats.decode_errors),
        (0, 0, 0)
    );
    assert_eq!(
        stats.closes(CloseReason::PeerClosed),
        askers.len() as u64,
        "{stats}"
    );
    assert_eq!(pool.queued(), 0);
}

#[test]
fn a_few_are_answered_under_many_seeds() {
    Runs::seeds(0..300).run(|world| everybody_is_answered(world, 3, 20));
}

#[test]
fn sixty_four_are_answered_under_some() {
    Runs::seeds(0..6).run(|world| everybody_is_answered(world, 64, 30));
}

/// A pool with room for one, and connections that come and go in its line. Once a connection that
/// found the pool full again left the line; and once the wake-up of one that had found room by itself
/// meanwhile was lost to those behind it.
#[test]
fn a_pool_with_room_for_one_serves_all() {
    for way in [Way::OnPool, Way::ByJobs] {
        Runs::seeds(0..100).run(|world| {
            let dice = Dice(world.seed());
            let plan = Plan {
                way,
                queue_max: 1,
                moody: true,
                auto_pause: true,
                limits: ConnectionLimits::default(),
                answer_bytes_max: 100,
            };
            all_are_answered(world, &plan, dice, 3, 10);
        });
    }
}
