//! Nodes of the stack: the server that lets them in, and those that dial it.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use netwheel::link::Service;
use netwheel::stack::{Message, Node, StackLink, StackWire};
use netwheel::{Backoff, CloseReason, Reactor, Result, RunningServer};

use crate::ends::{INTERVAL, Tries};

/// A node that lets everybody in.
pub(crate) fn serve(reactor: &Reactor, listen: SocketAddr) -> RunningServer {
    Node::on(reactor, "server")
        .and_then(|node| node.serve(|_: &StackLink, _| Ok(())))
        .and_then(|node| node.server().listen(listen)?.start())
        .expect("the node starts")
}

/// A node that dials the server, and notes each try as its pipeline is made.
pub(crate) fn dial(
    reactor: &Reactor,
    server: SocketAddr,
    n: usize,
    seen: Arc<Mutex<Tries>>,
) -> std::result::Result<Node, Box<dyn Error>> {
    let tries = Arc::clone(&seen);
    let node = Node::on(reactor, &format!("n{n}"))?
        .reconnect(Backoff::every(INTERVAL))
        .outbound(move |pipeline| {
            tries.lock().unwrap().began.push(Instant::now());
            pipeline
        })
        .serve(Notes(seen))?;
    node.know("server", server)?;
    node.get_or_connect("server")?;
    Ok(node)
}

/// Whether the link of a node is up.
struct Notes(Arc<Mutex<Tries>>);

impl Service<StackWire> for Notes {
    fn on_up(&self, _: &StackLink) {
        self.0.lock().unwrap().up = true;
    }

    fn on_message(&self, _: &StackLink, _: Message) -> Result<()> {
        Ok(())
    }

    fn on_down(&self, _: &StackLink, _: CloseReason) {
        self.0.lock().unwrap().up = false;
    }
}
