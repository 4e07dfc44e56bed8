//! What orders change in the store, all of one job together.

use std::io;

use super::Order;
use crate::ledger::{Kept, Ledger, Said};

/// What the store has said to an order.
pub(super) enum Noted {
    /// A message.
    Kept(Kept),
    /// A message that has to wait for one that was refused.
    Behind,
    /// Up to where an inbox is acknowledged.
    Cursor(u64),
    Nothing,
}

/// What an order changes in the store.
pub(super) fn note(
    ledger: &mut Ledger<'_>,
    order: &Order,
    acknowledged: Option<u64>,
    time: u64,
) -> io::Result<Noted> {
    match order {
        Order::Say {
            visitor,
            client_id,
            to,
            raw,
            ..
        } => {
            if visitor.is_before(to, *client_id) {
                visitor.refuse(to, *client_id);
                return Ok(Noted::Behind);
            }
            let said = Said {
                from: &visitor.device.uid,
                platform: visitor.device.platform,
                to,
                client_id: *client_id,
                time,
                raw,
            };
            let kept = ledger.keep(&said)?;
            match kept {
                Kept::InboxFull => visitor.refuse(to, *client_id),
                Kept::New { .. } | Kept::Again(_) => visitor.settle(to, *client_id),
            }
            Ok(Noted::Kept(kept))
        }
        Order::Arrive { visitor, .. } => {
            let device = &visitor.device;
            ledger
                .arrive(&device.uid, device.platform)
                .map(Noted::Cursor)
        }
        Order::Look(visitor) => {
            let device = &visitor.device;
            if let Some(id) = acknowledged {
                ledger.acknowledge(&device.uid, device.platform, id)?;
            }
            Ok(Noted::Nothing)
        }
        Order::Do { .. } | Order::Leave { .. } => Ok(Noted::Nothing),
    }
}
