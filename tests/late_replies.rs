//! What comes too late for its connection finds nobody, also when the slot has been taken again.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::Write;

use bytes::Bytes;
use crossbeam_channel::{Sender, unbounded};
use netwheel::codec::LengthField;
use netwheel::{CloseReason, ConnectionHandle, Context, Executor, Handler, Pipeline, Result};
use util::{PATIENCE, ask, dial, end, eventually, frame, reset, serve};

/// Answers from a job that waits for the test, and hands out its handle.
struct Late {
    pool: Executor,
    gate: crossbeam_channel::Receiver<()>,
    handing: Sender<ConnectionHandle<Bytes>>,
}

impl Handler<Bytes, Bytes> for Late {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        Ok(self.handing.send(cx.handle())?)
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        if message.starts_with(b"ping") {
            return cx.write(message);
        }
        let gate = self.gate.clone();
        let job = move || gate.recv_timeout(PATIENCE).map(|()| message);
        cx.offload(&self.pool, job, |cx, message| cx.write(message?))
    }
}

#[test]
fn a_job_that_ends_after_its_connection_leaves_the_next_in_the_slot_alone() {
    let ((open, gate), (handing, handed)) = (unbounded(), unbounded());
    let pool = Executor::new(1);
    let jobs = pool.clone();
    let server = serve(1, move |_| {
        let (gate, handing) = (gate.clone(), handing.clone());
        Pipeline::new(LengthField::u32()).handler(Late {
            pool: jobs.clone(),
            gate,
            handing,
        })
    });
    let old = dial(server.address());
    (&old).write_all(&frame(b"late")).unwrap();
    let old_handle = handed.recv_timeout(PATIENCE).unwrap();
    eventually("the job waits", || pool.queued() == 1);
    reset(old);
    eventually("it has gone", || server.connections() == 0);

    let new = dial(server.address());
    let new_handle = handed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (old_handle.id().to_string(), new_handle.id().to_string()),
        ("w0:0.0".into(), "w0:0.1".into())
    );
    let before = server.stats().stale_events;
    open.send(()).unwrap();
    eventually("the answer found nobody", || {
        server.stats().stale_events > before
    });
    old_handle.close();
    old_handle.close_after_flush();
    assert!(old_handle.try_send(Bytes::new()).is_err());
    assert_eq!(old_handle.closed(), Some(CloseReason::Reset));
    for _ in 0..10 {
        assert_eq!(
            ask(&new, &frame(b"ping")),
            frame(b"ping"),
            "the new one gets its own answers only"
        );
    }
    assert_eq!(new_handle.closed(), None);
    drop(new);
    end(server);
}

#[test]
fn a_lane_that_answers_after_its_connection_leaves_the_next_in_the_slot_alone() {
    let ((open, gate), (enter, entered)) = (unbounded(), unbounded());
    let pool = Executor::new(1);
    let handlers = pool.clone();
    let server = serve(1, move |_| {
        let (gate, enter) = (gate.clone(), enter.clone());
        Pipeline::new(LengthField::u32()).handle_on(&handlers, move |cx, frame: Bytes| {
            if frame.starts_with(b"late") {
                enter.send(())?;
                gate.recv_timeout(PATIENCE)?;
            }
            cx.write(frame)
        })
    });
    let old = dial(server.address());
    (&old).write_all(&frame(b"late").repeat(3)).unwrap();
    entered.recv_timeout(PATIENCE).unwrap();
    eventually("the others wait in the lane", || pool.queued() == 3);
    reset(old);
    eventually("it has gone", || server.connections() == 0);

    let new = dial(server.address());
    (&new).write_all(&frame(b"ping")).unwrap();
    eventually("it waits behind the late one", || pool.queued() == 4);
    // One is handled still; the others are dropped unhandled, or this would wait for the gate.
    open.send(()).unwrap();
    assert_eq!(util::read(&new, 8), frame(b"ping"));
    assert_eq!(ask(&new, &frame(b"ping")), frame(b"ping"));
    eventually("the answer found nobody", || {
        server.stats().stale_events > 0
    });
    eventually("the pool is empty", || pool.queued() == 0);
    drop(new);
    end(server);
}
