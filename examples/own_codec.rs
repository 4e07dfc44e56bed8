//! A codec of one's own: lines that are sums, and their results.
//!
//! ```sh
//! cargo run --release --example own_codec
//! nc 127.0.0.1 7000
//! ```
//! Type `1 + 2` and get `3`; what is no sum ends the connection, with the reason `protocol_error`.

mod support;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use netwheel::codec::Lines;
use netwheel::{Body, Failure, Framing, Pipeline, Result, Server};

const EXAMPLES: &str = "\
Try it:
  cargo run --release --example own_codec
  nc 127.0.0.1 7000                                  (type 1 + 2, get 3)";

/// Adds, subtracts and multiplies.
#[derive(Parser)]
#[command(name = "own_codec", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,
}

/// What a line means, where it has been found: this is the codec.
struct Sums;

struct Sum {
    left: i64,
    sign: u8,
    right: i64,
}

impl Body for Sums {
    type In = Sum;
    type Out = i64;

    fn decode(&mut self, line: &[u8]) -> Result<Sum> {
        let text = std::str::from_utf8(line).map_err(Failure::protocol)?;
        let mut words = text.split_ascii_whitespace();
        match [(); 4].map(|()| words.next()) {
            [
                Some(left),
                Some(sign @ ("+" | "-" | "*")),
                Some(right),
                None,
            ] => Ok(Sum {
                left: left.parse().map_err(Failure::protocol)?,
                sign: sign.as_bytes()[0],
                right: right.parse().map_err(Failure::protocol)?,
            }),
            _ => Err(Failure::protocol("not a number, a sign, and a number")),
        }
    }

    fn encode(&mut self, result: i64, dst: &mut Vec<u8>) -> Result<()> {
        Ok(write!(dst, "{result}")?)
    }
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| {
        let server = Server::new().pipeline(|_peer| {
            let lines = Lines::new().frame_bytes_max(100);
            Pipeline::new(lines.then(Sums)).handle(|cx, sum| {
                cx.write(match sum.sign {
                    b'+' => sum.left.wrapping_add(sum.right),
                    b'-' => sum.left.wrapping_sub(sum.right),
                    _ => sum.left.wrapping_mul(sum.right),
                })
            })
        });
        support::serve(&flags.server, server, |_stats| {})
    })
}
