//! Caviar, scenario by scenario: bytes and order against raw sockets, time in simulated worlds.
//! `SEED=0..100000 cargo test --release --all-features --test caviar` searches further.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test"
)]

mod bad_input;
mod connects;
mod pushes;
mod python;
mod raw;
mod requests;
mod sessions;
mod time;
#[path = "../util/mod.rs"]
mod util;
mod wire;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use netwheel::caviar::{
    CaviarClient, CaviarClientBuilder, CaviarServer, RequestContext, RunningCaviarServer,
    SessionContext,
};
use netwheel::{Backoff, ClientState, Result};

use util::{PATIENCE, any_port};

/// Answers each request with its own body.
fn echo(_: &SessionContext, request: RequestContext) -> Result<()> {
    let body = request.body().clone();
    Ok(request.respond(body)?)
}

/// A server with two workers, on a port of its own.
fn serve(
    listener: impl Fn(&SessionContext, RequestContext) -> Result<()> + Send + Sync + 'static,
) -> RunningCaviarServer {
    start(CaviarServer::new(listener))
}

fn start(server: CaviarServer) -> RunningCaviarServer {
    server
        .workers(2)
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap()
}

/// A client that waits for its answers for as long as a test does, and dials again at once.
fn builder() -> CaviarClientBuilder {
    CaviarClient::builder()
        .timeout(PATIENCE)
        .reconnect(Backoff::every(Duration::from_millis(20)))
}

fn connect(server: &RunningCaviarServer) -> CaviarClient {
    builder().connect(server.address()).unwrap()
}

/// A client whose states the test hears.
fn heard(builder: CaviarClientBuilder) -> (CaviarClientBuilder, Receiver<ClientState>) {
    let (tell, told) = channel();
    let builder = builder.on_state(move |state| {
        let _ = tell.send(state.clone());
    });
    (builder, told)
}

/// Waits for a state.
fn until(states: &Receiver<ClientState>, wanted: impl Fn(&ClientState) -> bool) {
    while !wanted(&states.recv_timeout(PATIENCE).expect("the state comes")) {}
}
