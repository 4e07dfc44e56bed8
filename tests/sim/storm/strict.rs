//! Questions that are asked once: in a world that breaks no connection each must be answered.

use std::sync::Arc;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::sim::World;
use netwheel::{Client, Pipeline};

use super::ledger::Tag;
use super::town::{SERVER, Town};
use crate::{Dice, MINUTE, Shared};

/// Its own kind of message, which is not asked again.
const ONCE: u8 = 2;

/// Asks a few questions over a new connection, some of them when the answers before have come.
pub fn ask_once(world: &World, town: &Town, dice: &mut Dice, client: u8) {
    let heard: Shared<Vec<Bytes>> = Shared::default();
    let keep = Arc::clone(&heard);
    let handle = Client::on(&town.nodes[dice.below(2)].net())
        .pipeline(move || {
            let keep = Arc::clone(&keep);
            Pipeline::new(LengthField::u16()).handle(move |_, message: Bytes| {
                if message[1] == client {
                    keep.lock().unwrap().push(message);
                }
                Ok(())
            })
        })
        .connect(SERVER)
        .unwrap();
    let questions: Vec<_> = (1..=6).map(|serial| question(client, serial)).collect();
    for (number, question) in questions.iter().enumerate() {
        handle.try_send(question.clone()).unwrap();
        if dice.below(2) == 0 {
            wait(world, town, &heard, number + 1);
        }
    }
    wait(world, town, &heard, questions.len());
    assert_eq!(*heard.lock().unwrap(), questions, "{:?}", town.way);
    handle.close_after_flush();
}

fn wait(world: &World, town: &Town, heard: &Shared<Vec<Bytes>>, count: usize) {
    let come = world.run_until(MINUTE, || heard.lock().unwrap().len() == count);
    let heard = heard.lock().unwrap().len();
    assert!(come, "{:?}: {heard} of {count} answers", town.way);
}

fn question(client: u8, serial: u32) -> Bytes {
    let tag = Tag {
        kind: ONCE,
        client,
        serial,
        question: 0,
    };
    tag.message()
}
