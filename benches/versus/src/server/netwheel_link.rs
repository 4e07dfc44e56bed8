//! A node of netwheel's private stack, as its good user would write it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use netwheel::limits::WorkerLimits;
use netwheel::stack::{Message, MessageType, Node, StackLink};
use netwheel::{Reactor, Result};

use super::{ServeArgs, announce};

/// One reactor and one node, plain profile; its service runs on the workers.
pub fn serve(args: &ServeArgs) -> io::Result<()> {
    let mut limits = WorkerLimits::default();
    limits.read_buffer_bytes = args.buffer;
    let reactor = Reactor::builder()
        .limits(limits)
        .workers(args.workers)
        .start()?;
    let heard = AtomicU64::new(0);
    let node = Node::on(&reactor, "server")?
        .serve(move |link: &StackLink, message| answer(link, message, &heard))?;
    let server = node.server().listen(args.listen)?.start()?;
    announce(server.address())?;
    server.wait();
    Ok(())
}

/// Echoes; a question of nothing is answered with the number of messages since the last one.
fn answer(link: &StackLink, message: Message, heard: &AtomicU64) -> Result<()> {
    match message.kind() {
        MessageType::Request if message.body().is_empty() => {
            let count = heard.swap(0, Ordering::Relaxed).to_be_bytes();
            link.send(message.answer(count.to_vec()))?;
        }
        MessageType::Request => link.send(message.answer(message.body().clone()))?,
        _ => {
            heard.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
