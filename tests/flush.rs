//! Output that must not wait for the end of the turn, over a real socket.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use bytes::Bytes;
use netwheel::Pipeline;
use netwheel::codec::LengthField;
use util::{Caller, Gate, end, serve};

/// A handler that stops its worker until the client has what was flushed before: allowed in a test only.
#[test]
fn what_is_flushed_leaves_before_the_next_message_of_the_same_read() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = serve(1, move |_| {
        let gate = held.clone();
        Pipeline::new(LengthField::u32()).handle(move |cx, frame: Bytes| {
            match &*frame {
                b"hold" => gate.pass(),
                b"flush" => cx.flush(),
                _ => {}
            }
            cx.write(frame)
        })
    });
    let mut caller = Caller::new(server.address());
    // One write, which one read brings: all of it is handled in one turn.
    caller.send_all(["first", "flush", "hold", "last"]);
    gate.wait();
    assert_eq!(caller.expect(), b"first");
    assert_eq!(caller.expect(), b"flush");
    gate.open();
    assert_eq!(caller.expect(), b"hold");
    assert_eq!(caller.expect(), b"last");
    drop(caller);
    end(server);
}
