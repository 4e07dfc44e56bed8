//! Who is let in, and who is shown out again.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use netwheel::stages::{IpFilter, PerAddress};
use netwheel::testing::Harness;
use netwheel::{CloseReason, Pipeline, Stage};

use crate::{Log, Told, Wire};

fn from(address: &str, door: impl Stage<Bytes, Bytes>, log: &Log) -> Wire {
    let ip: IpAddr = address.parse().expect("an address");
    let pipeline = Pipeline::raw()
        .stage("door", door)
        .handler(Told(log.clone()));
    Harness::builder()
        .peer(SocketAddr::new(ip, 4711))
        .open(pipeline)
}

#[test]
fn whom_the_filter_turns_away_is_never_shown_to_the_handler() {
    let log = Log::default();
    let door = IpFilter::parse("allow 10.0.0.0/8\ndeny all").expect("rules");
    let refused = from("11.0.0.1", door.clone(), &log);
    assert_eq!(refused.closed(), Some(CloseReason::Refused));
    assert_eq!(log.take(), "", "neither open nor close");
    let mut welcome = from("::ffff:10.0.0.1", door.clone(), &log);
    assert_eq!(welcome.receive(b"hi").sent(), b"hi");
    assert_eq!(door.refused(), 1);
}

#[test]
fn new_rules_hold_for_those_who_come_and_where_asked_for_those_inside() {
    let log = Log::default();
    let door = IpFilter::parse("").expect("rules").closing_open();
    let mut stays = from("10.0.0.1", door.clone(), &log);
    let mut goes = from("10.0.0.2", door.clone(), &log);
    let left = from("10.0.0.2", door.clone(), &log);
    drop(left);
    log.take();
    door.reload("deny 10.0.0.2".parse().expect("rules"));
    assert_eq!(stays.mail().closed(), None);
    assert_eq!(goes.mail().closed(), Some(CloseReason::Refused));
    assert_eq!(log.take(), "refused");
    assert_eq!(
        from("10.0.0.2", door.clone(), &log).closed(),
        Some(CloseReason::Refused)
    );
    door.reload("allow all".parse().expect("rules"));
    assert_eq!(from("10.0.0.2", door, &log).closed(), None);
}

#[test]
fn a_door_that_does_not_close_open_ones_leaves_them_alone() {
    let log = Log::default();
    let door = IpFilter::parse("").expect("rules");
    let mut inside = from("10.0.0.2", door.clone(), &log);
    door.reload("deny all".parse().expect("rules"));
    assert_eq!(inside.mail().receive(b"still here").sent(), b"still here");
    assert_eq!(
        from("10.0.0.2", door, &log).closed(),
        Some(CloseReason::Refused)
    );
}

#[test]
fn one_connection_an_address_and_the_next_when_it_has_gone() {
    let (log, door) = (Log::default(), PerAddress::one());
    let address: IpAddr = "10.0.0.1".parse().expect("an address");
    let mut first = from("10.0.0.1", door.clone(), &log);
    let second = from("::ffff:10.0.0.1", door.clone(), &log);
    assert_eq!(second.closed(), Some(CloseReason::Refused));
    assert_eq!(log.take(), "open");
    assert_eq!(from("10.0.0.2", door.clone(), &log).closed(), None);
    assert_eq!((door.count(address), door.refused()), (1, 1));
    first.receive_eof();
    assert_eq!(door.count(address), 0);
    assert_eq!(from("10.0.0.1", door, &log).closed(), None);
}

#[test]
fn a_place_is_given_up_however_a_connection_ends() {
    let log = Log::default();
    let door = PerAddress::at_most(2);
    let address: IpAddr = "10.0.0.1".parse().expect("an address");
    let ends: [fn(&mut Wire); 4] = [
        |wire| _ = wire.reset(),
        |wire| _ = wire.shutdown(),
        |wire| _ = wire.receive_eof(),
        |wire| _ = wire.receive(b"panic"),
    ];
    for end in ends {
        let pipeline = Pipeline::raw()
            .stage("door", door.clone())
            .handle(|_, bytes: Bytes| -> netwheel::Result { panic!("{bytes:?}") });
        let mut wire = Harness::builder()
            .peer(SocketAddr::new(address, 1))
            .open(pipeline);
        let _second = from("10.0.0.1", door.clone(), &log);
        assert_eq!(door.count(address), 2);
        end(&mut wire);
        assert!(wire.closed().is_some());
        assert_eq!(door.count(address), 1, "{:?}", wire.closed());
    }
    assert_eq!(door.count(address), 0);
}
