//! Every load against an honest echo server, and against servers that cheat.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::{Load, Message, Opening, Probe, Shape, Timing, Window};

const TIMING: Timing = Timing {
    warm_up: Duration::from_millis(10),
    window: Duration::from_millis(50),
    messages_max: u64::MAX,
};
const SMALL: Message = Message {
    bytes: 64,
    shape: Shape::Framed,
    opening: Opening::None,
};

/// Serves each connection with `answer`, which may change what was read.
fn server(answer: fn(&mut [u8]) -> io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream, answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: fn(&mut [u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        answer(&mut buffer[..count])?;
        stream.write_all(&buffer[..count])?;
    }
}

fn echo(_: &mut [u8]) -> io::Result<()> {
    Ok(())
}

#[derive(Default)]
struct Calls(Vec<&'static str>);

impl Probe for Calls {
    fn begin(&mut self) -> Result<()> {
        self.0.push("begin");
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.0.push("end");
        Ok(())
    }
}

fn run(load: Load, message: Message, answer: fn(&mut [u8]) -> io::Result<()>) -> Result<Window> {
    let mut calls = Calls::default();
    let window = load.run(server(answer), message, TIMING, &mut calls)?;
    assert_eq!(calls.0, ["begin", "end"]);
    assert_eq!(window.messages, window.latency.len());
    Ok(window)
}

fn closed(depth: u64, sliding: bool) -> Load {
    Load::Closed {
        connections: 4,
        idle: 2,
        depth,
        sliding,
        spin: false,
    }
}

#[test]
fn closed_loops_count_whole_messages() {
    for depth in [1, 32] {
        let window = run(closed(depth, false), SMALL, echo).expect("an honest server");
        assert!(window.messages >= 4 * depth);
        assert_eq!(window.messages % depth, 0, "whole bursts");
        assert!(window.slowest_share <= 1.0);
    }
}

#[test]
fn a_window_ends_at_its_messages() {
    let timing = Timing {
        window: Duration::from_secs(60),
        messages_max: 500,
        ..TIMING
    };
    for load in [closed(32, false), Load::Churn { at_once: 5 }] {
        let window = load.run(server(echo), SMALL, timing, &mut Calls::default());
        let messages = window.expect("an honest server").messages;
        // The last turn may answer a burst of each connection, and what it asks is answered too.
        assert!((500..500 + 2 * 4 * 32).contains(&messages), "{messages}");
    }
}

#[test]
fn streams_cross_many_reads() {
    let large = Message {
        bytes: 64 * 1024,
        shape: Shape::Bare,
        opening: Opening::None,
    };
    let window = run(closed(8, true), large, echo).expect("an honest server");
    assert!(window.messages >= 4 * 8);
}

#[test]
fn an_open_loop_asks_what_is_due() {
    let load = Load::Open {
        connections: 3,
        rate: 2000.0,
    };
    let window = run(load, SMALL, echo).expect("an honest server");
    // 50 ms at 2,000 a second, and the one at the start; fewer when the last turn comes late.
    assert!((10..=101).contains(&window.messages), "{}", window.messages);
}

#[test]
fn churn_counts_lives_and_idle_counts_connections() {
    let window = run(Load::Churn { at_once: 5 }, SMALL, echo).expect("an honest server");
    assert!(window.messages >= 5);
    let idle = Load::Idle { few: 10, many: 50 };
    assert_eq!(
        run(idle, SMALL, echo).expect("an honest server").messages,
        40
    );
}

#[test]
fn a_wrong_byte_is_an_error() {
    let result = run(closed(1, false), SMALL, |bytes| {
        bytes[bytes.len() - 1] ^= 1;
        Ok(())
    });
    let error = result.expect_err("the last byte is wrong").to_string();
    assert!(error.contains("wrong byte"), "{error}");
}

#[test]
fn a_closed_connection_is_an_error() {
    let result = run(
        closed(1, false),
        SMALL,
        |_| Err(io::ErrorKind::Other.into()),
    );
    let error = result.expect_err("the server closes").to_string();
    assert!(error.contains("closed a connection"), "{error}");
}
