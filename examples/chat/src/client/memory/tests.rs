use prost::Message as _;

use super::*;
use crate::protocol::Message;

fn response(code: u32) -> MessageResponse {
    MessageResponse {
        result: code == 0,
        code,
        last_block: true,
        ..MessageResponse::default()
    }
}

fn read(notes: &str, clock: u64) -> Memory {
    let (memory, fault) = Memory::read(notes, clock);
    assert_eq!(fault, None);
    memory
}

fn sent(memory: &mut Memory) -> usize {
    let mut count = 0;
    memory.pump(false, |_| {
        count += 1;
        true
    });
    count
}

#[test]
fn what_is_not_acknowledged_goes_out_again_with_its_number() {
    let mut memory = read("", 5);
    assert_eq!(memory.add("bob", "one"), Some(5001));
    assert_eq!(sent(&mut memory), 0, "nobody is logged in");
    memory.log_in("a");
    assert_eq!((sent(&mut memory), sent(&mut memory)), (1, 0));
    memory.add("bob", "two");
    let mut memory = read(&memory.to_notes(), 5);
    memory.log_in("a");
    assert_eq!(sent(&mut memory), 2);
    assert_eq!(memory.respond(2, response(8)), About::Later);
    assert_eq!(memory.respond(1, response(0)), About::Kept(5001));
    assert_eq!(sent(&mut memory), 1);
    assert_eq!(memory.add("bob", "three"), Some(5003), "no number twice");
}

#[test]
fn only_a_window_is_on_its_way() {
    let mut memory = read("", 0);
    memory.log_in("a");
    for _ in 0..UNSENT_MESSAGES_MAX {
        assert!(memory.add("bob", "x").is_some());
    }
    assert_eq!(memory.add("bob", "x"), None);
    assert_eq!(sent(&mut memory), WINDOW_MESSAGES);
    assert_eq!(memory.respond(1, response(0)), About::Kept(1));
    assert_eq!(sent(&mut memory), 1);
}

#[test]
fn nothing_is_shown_twice_unless_the_server_has_another_store() {
    let mut memory = read("", 0);
    memory.log_in("a");
    memory.has_shown(None, 7);
    memory.ask(Command::Join {
        room: "#tea".into(),
        after: Some(3),
    });
    memory.has_shown(Some("#tea"), 9);
    let mut memory = read(&memory.to_notes(), 0);
    let again = memory.log_in("a");
    assert_eq!(
        again,
        [Command::Join {
            room: "#tea".into(),
            after: Some(9)
        }]
    );
    assert!(!memory.is_new(None, 7) && memory.is_new(None, 8));
    assert!(!memory.is_new(Some("#tea"), 9) && memory.is_new(Some("#tea"), 10));
    memory.log_in("b");
    assert!(memory.is_new(None, 1));
}

/// To whom messages go out now.
fn goes_to(memory: &mut Memory, again: bool) -> Vec<String> {
    let mut to = Vec::new();
    memory.pump(again, |packet| {
        let message = Message::decode(&*packet.0).expect("ours");
        let said = message.message_request.expect("a message");
        to.push(format!("{} {}", said.to, said.content));
        true
    });
    to
}

#[test]
fn a_full_inbox_holds_up_its_own_messages_only_and_in_order() {
    let mut memory = read("", 0);
    memory.log_in("a");
    for nth in 1..=WINDOW_MESSAGES + 10 {
        memory.add("bob", &nth.to_string());
    }
    assert_eq!(sent(&mut memory), WINDOW_MESSAGES);
    memory.add("cid", "x");
    for sequence in 1..=WINDOW_MESSAGES as u64 {
        assert_eq!(memory.respond(sequence, response(8)), About::Later);
    }
    assert_eq!(goes_to(&mut memory, false), ["cid x"]);
    assert_eq!(
        goes_to(&mut memory, false),
        [""; 0],
        "not before it is time"
    );
    assert_eq!(goes_to(&mut memory, true), ["bob 1"], "one tries for all");
    assert_eq!(goes_to(&mut memory, true), [""; 0], "it is on its way");
    let sequence = memory.sequence;
    assert_eq!(memory.respond(sequence, response(8)), About::Later);
    assert_eq!(goes_to(&mut memory, false), [""; 0]);
    assert_eq!(goes_to(&mut memory, true), ["bob 1"]);
    let sequence = memory.sequence;
    assert_eq!(memory.respond(sequence, response(0)), About::Kept(1));
    let rest = goes_to(&mut memory, false);
    let expected: Vec<_> = (2..)
        .map(|nth| format!("bob {nth}"))
        .take(rest.len())
        .collect();
    assert_eq!(rest, expected);
    assert_eq!(rest.len(), WINDOW_MESSAGES - 1, "cid's is on its way, too");
}

#[test]
fn notes_are_the_same_however_they_were_written() {
    let mut memory = read("", 0);
    memory.log_in("a");
    let room = || "#tea".to_owned();
    memory.ask(Command::Join {
        room: room(),
        after: Some(3),
    });
    memory.has_shown(Some("#tea"), 9);
    memory.has_shown(None, 4);
    memory.add("bob", "one");
    memory.add("#tea", "two\nlines");
    sent(&mut memory);
    let kept = MessageResponse {
        info: "12".into(),
        ..response(0)
    };
    assert_eq!(memory.respond(3, kept), About::Kept(2));
    let changes = memory.take_notes();
    assert_eq!(memory.take_notes(), "");
    let again = read(&changes, 0);
    assert_eq!(again.to_notes(), memory.to_notes());
    assert!(again.to_notes().contains("bob") && again.is_own("#tea", 12, ""));
    memory.ask(Command::Leave { room: room() });
    let again = read(&(changes + &memory.take_notes()), 0);
    assert!(again.rooms.is_empty());
}

#[test]
fn a_torn_last_line_is_nothing_and_any_other_one_is_a_fault() {
    let mut memory = read("", 0);
    memory.add("bob", "one");
    memory.add("bob", "two");
    let notes = memory.take_notes();
    let (again, fault) = Memory::read(&notes[..notes.len() - 3], 0);
    assert_eq!((again.unsent.len(), fault), (1, None));
    let (again, fault) = Memory::read(&format!("{}\nnonsense\n", notes.trim_end()), 0);
    assert_eq!(again.unsent.len(), 2);
    let fault = fault.expect("no note");
    assert!(fault.starts_with("line 3: "), "{fault}");
}
