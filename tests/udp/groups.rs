//! Broadcast and multicast, where the machine has them on loopback.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;

use netwheel::Udp;
use netwheel::udp::UdpHandle;

use super::util::PATIENCE;
use super::{plain, reactor};

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 1);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0x77, 1);

/// Whether a plain socket hears its own multicast on this interface; containers may forbid it.
fn hears_itself(interface: Ipv4Addr) -> bool {
    let heard = || -> std::io::Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(super::util::A_WHILE))?;
        socket.join_multicast_v4(&GROUP_V4, &interface)?;
        let sender = socket2::SockRef::from(&socket);
        sender.set_multicast_if_v4(&interface)?;
        socket.send_to(b"?", (GROUP_V4, socket.local_addr()?.port()))?;
        socket.recv(&mut [0; 1])?;
        Ok(())
    };
    heard()
        .inspect_err(|error| println!("skipped: no multicast by way of {interface}: {error}"))
        .is_ok()
}

#[test]
fn a_member_hears_its_group_and_a_former_member_does_not() {
    if !hears_itself(Ipv4Addr::LOCALHOST) {
        return;
    }
    let reactor = reactor(1);
    let (tx, rx) = mpsc::channel();
    let member = Udp::on(&reactor)
        .join_v4(GROUP_V4, Ipv4Addr::LOCALHOST)
        .handle(move |cx, datagram| {
            if datagram.bytes == b"leave" {
                cx.leave_v4(GROUP_V4, Ipv4Addr::LOCALHOST)?;
            }
            Ok(tx.send(datagram.bytes.to_vec())?)
        })
        .bind("0.0.0.0:0")
        .unwrap();
    let sender = Udp::on(&reactor)
        .multicast_interface_v4(Ipv4Addr::LOCALHOST)
        .multicast_ttl(1)
        .multicast_loop(true)
        .handle(|_, _| Ok(()))
        .bind("127.0.0.1:0")
        .unwrap();
    let port = member.local_address().port();
    let say = |text: &'static str| sender.try_send_to(text, (GROUP_V4, port).into()).unwrap();
    let heard = || rx.recv_timeout(PATIENCE).unwrap();
    say("one");
    assert_eq!(heard(), b"one");
    say("leave");
    assert_eq!(heard(), b"leave");
    say("unheard");
    // Both are on the same loopback, which keeps their order: what comes next was sent later.
    let direct = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    sender.try_send_to("direct", direct).unwrap();
    assert_eq!(heard(), b"direct");
}

#[test]
fn what_a_sender_does_not_loop_is_not_heard_here() {
    // Not on the loopback interface, which hears everything it sends.
    if !hears_itself(Ipv4Addr::UNSPECIFIED) {
        return;
    }
    let reactor = reactor(1);
    let (tx, rx) = mpsc::channel();
    let member = Udp::on(&reactor)
        .join_v4(GROUP_V4, Ipv4Addr::UNSPECIFIED)
        .handle(move |_, datagram| Ok(tx.send(datagram.bytes.to_vec())?))
        .bind("0.0.0.0:0")
        .unwrap();
    let port = member.local_address().port();
    let sender = |loops: bool| -> UdpHandle {
        Udp::on(&reactor)
            .multicast_loop(loops)
            .handle(|_, _| Ok(()))
            .bind("0.0.0.0:0")
            .unwrap()
    };
    for (loops, text) in [(false, "unheard"), (true, "heard")] {
        let sender = sender(loops);
        sender.try_send_to(text, (GROUP_V4, port).into()).unwrap();
        sender.close();
        sender.wait_closed(PATIENCE).unwrap();
    }
    assert_eq!(rx.recv_timeout(PATIENCE).unwrap(), b"heard");
}

#[test]
fn a_member_hears_its_ipv6_group() {
    let reactor = reactor(1);
    let (tx, rx) = mpsc::channel();
    // Index 1 is the loopback interface wherever there is one.
    let member = Udp::on(&reactor)
        .join_v6(GROUP_V6, 1)
        .multicast_interface_v6(1)
        .handle(move |_, datagram| Ok(tx.send(datagram.bytes.to_vec())?))
        .bind("[::]:0");
    let member = match member {
        Ok(member) => member,
        Err(error) => {
            println!("skipped: no IPv6 multicast here: {error}");
            return;
        }
    };
    let port = member.local_address().port();
    member.try_send_to("six", (GROUP_V6, port).into()).unwrap();
    match rx.recv_timeout(super::util::A_WHILE) {
        Ok(bytes) => assert_eq!(bytes, b"six"),
        Err(_) => println!("skipped: IPv6 multicast does not come back on this loopback"),
    }
}

#[test]
fn broadcast_is_allowed_only_where_it_was_asked_for() {
    let reactor = reactor(1);
    let listener = plain();
    let to = SocketAddr::from((Ipv4Addr::BROADCAST, listener.local_addr().unwrap().port()));
    for (on, errors) in [(false, 1), (true, 0)] {
        let socket = Udp::on(&reactor)
            .broadcast(on)
            .handle(|_, _| Ok(()))
            .bind("0.0.0.0:0")
            .unwrap();
        socket.try_send_to("all", to).unwrap();
        socket.close();
        socket.wait_closed(PATIENCE).unwrap();
        let stats = socket.stats();
        if on && stats.errors == 1 {
            println!("skipped: this machine has no network to broadcast to");
            return;
        }
        assert_eq!((stats.errors, stats.sent), (errors, 1 - errors));
    }
}
