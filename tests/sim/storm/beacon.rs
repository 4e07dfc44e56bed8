//! Datagrams that are sent again and again, through everything that happens to them.

use std::net::SocketAddr;
use std::time::Duration;

use netwheel::udp::{Datagram, DatagramContext, DatagramHandler, UdpHandle};
use netwheel::{Net, Result, TimerKey, Udp};

const PERIOD: Duration = Duration::from_millis(100);
/// Beacons of one life: enough to be seen, few enough to end.
const BEACONS: u32 = 40;

/// Answers every beacon.
pub fn answer(net: &Net) -> UdpHandle {
    Udp::on(net)
        .handle(|cx, datagram| cx.send_to(datagram.bytes, datagram.peer))
        .bind("0.0.0.0:7000")
        .unwrap()
}

/// Sends beacons to a server.
pub fn send(net: &Net, to: SocketAddr) -> UdpHandle {
    Udp::on(net)
        .handler(move || Beacon { to, sent: 0 })
        .bind("0.0.0.0:0")
        .unwrap()
}

struct Beacon {
    to: SocketAddr,
    sent: u32,
}

impl DatagramHandler for Beacon {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) -> Result<()> {
        cx.timer(PERIOD, TimerKey(0));
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut DatagramContext<'_>, key: TimerKey) -> Result<()> {
        if self.sent < BEACONS {
            self.sent += 1;
            cx.timer(PERIOD, key);
            cx.send_to(self.sent.to_be_bytes(), self.to)?;
        }
        Ok(())
    }

    fn on_datagram(&mut self, _: &mut DatagramContext<'_>, datagram: Datagram<'_>) -> Result<()> {
        let number = u32::from_be_bytes(datagram.bytes.try_into()?);
        assert!(datagram.peer == self.to && number <= self.sent);
        Ok(())
    }
}
