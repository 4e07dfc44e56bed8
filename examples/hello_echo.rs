//! Ten lines: sends every byte back.
//!
//! Run it with `cargo run --release --example hello_echo`, then talk to it: `nc 127.0.0.1 7000`.

use netwheel::{Pipeline, Server};

fn main() -> netwheel::Result<()> {
    Server::new()
        .pipeline(|_peer| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen("127.0.0.1:7000")?
        .run()?;
    Ok(())
}
