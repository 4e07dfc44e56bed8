//! Orders in an order that connections hardly ever bring about.

use netwheel::sim::World;

use super::*;
use crate::office::tests::visitor;
use crate::protocol::HeadType;
use crate::store::MemoryStore;

#[test]
fn what_a_kicked_session_acknowledges_late_takes_nothing_back() {
    let world = World::new(1);
    let (old, _server) = visitor(&world, "10.0.0.1:7000");
    let (new, _server) = visitor(&world, "10.0.0.2:7000");
    let options = OfficeOptions {
        copies: true,
        clock: || 0,
    };
    let store = Arc::new(MemoryStore::default());
    let mut hall = Hall::new(store.clone(), options).expect("a new store");
    let arrive = |visitor: &Arc<Visitor>| Order::Arrive {
        visitor: Arc::clone(visitor),
        welcome: Packet::login_response(1, "1", Code::Ok, ""),
    };
    let say = |to: &str| Order::Say {
        visitor: Arc::clone(&old),
        sequence: 1,
        client_id: 0,
        to: to.to_owned(),
        raw: Packet::new(HeadType::MessageRequest, 1, |_| {}).0,
    };
    hall.serve(vec![arrive(&old), say("ann"), say("ann"), arrive(&new)]);
    for (visitor, id) in [(&new, 2), (&old, 1)] {
        Visitor::acknowledge(visitor, id);
        hall.serve(vec![Order::Look(Arc::clone(visitor))]);
    }
    let mut cursor = 0;
    let read = ledger::change(&*store, |ledger| {
        cursor = ledger.arrive("ann", old.device.platform)?;
        Ok(())
    });
    read.expect("memory does not fail");
    assert_eq!(cursor, 2);
}
