//! Heartbeats come back as they were, byte for byte, and reach nobody else.

use netwheel::{Flow, Result, Stage};

use super::Cx;
use crate::protocol::{Frame, HeadType, Packet};

pub(super) struct HeartBeat;

impl Stage<Frame, Packet> for HeartBeat {
    fn on_inbound(&mut self, cx: &mut Cx<'_>, frame: &mut Frame) -> Result<Flow> {
        if frame.message.r#type() != HeadType::HeartBeat {
            return Ok(Flow::Next);
        }
        // What was there is all there is: a client that does not read its heartbeats needs no more of them.
        let _ = cx.try_write(Packet(frame.raw.clone()));
        Ok(Flow::Next)
    }
}
