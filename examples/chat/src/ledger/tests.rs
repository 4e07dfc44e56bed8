use prost::Message as _;

use super::*;
use crate::limits::{INBOX_MESSAGES_MAX, REPEATS_KNOWN_MAX};
use crate::protocol::{Message, MessageRequest};
use crate::store::MemoryStore;

fn raw(to: &str) -> Vec<u8> {
    let request = MessageRequest {
        to: to.into(),
        ..MessageRequest::default()
    };
    let message = Message {
        message_request: Some(request),
        ..Message::default()
    };
    message.encode_to_vec()
}

/// Keeps a message from ann; answers with what has become of it.
fn say(store: &MemoryStore, to: &str, client_id: u64) -> Kept {
    let raw = raw(to);
    let said = Said {
        from: "ann",
        platform: 0,
        to,
        client_id,
        time: 0,
        raw: &raw,
    };
    let mut kept = Kept::InboxFull;
    let done = change(store, |ledger| {
        kept = ledger.keep(&said)?;
        Ok(())
    });
    done.expect("memory does not fail");
    kept
}

fn id(kept: &Kept) -> u64 {
    match kept {
        Kept::New { id, .. } | Kept::Again(id) => *id,
        Kept::InboxFull => panic!("it was not kept"),
    }
}

fn arrives(store: &MemoryStore, platform: u8) -> u64 {
    let mut cursor = 0;
    let done = change(store, |ledger| {
        cursor = ledger.arrive("bob", platform)?;
        Ok(())
    });
    done.expect("memory does not fail");
    cursor
}

fn acknowledges(store: &MemoryStore, platform: u8, id: u64) {
    let done = change(store, |ledger| ledger.acknowledge("bob", platform, id));
    done.expect("memory does not fail");
}

fn waiting(store: &MemoryStore) -> Vec<u64> {
    let all = inbox(store, "bob", 0, usize::MAX).expect("memory does not fail");
    all.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn an_inbox_holds_what_some_device_has_not_acknowledged() {
    let store = MemoryStore::default();
    assert_eq!((arrives(&store, 0), arrives(&store, 1)), (0, 0));
    for _ in 0..3 {
        say(&store, "bob", 0);
    }
    acknowledges(&store, 0, 3);
    assert_eq!(waiting(&store), [1, 2, 3]);
    acknowledges(&store, 1, 2);
    assert_eq!(waiting(&store), [3]);
    assert_eq!(arrives(&store, 0), 3);
    assert_eq!(arrives(&store, 2), 3, "a new device begins at the foremost");
}

#[test]
fn a_full_inbox_takes_no_more_until_some_device_has_got_the_oldest() {
    let store = MemoryStore::default();
    arrives(&store, 0);
    for _ in 0..INBOX_MESSAGES_MAX {
        assert!(matches!(say(&store, "bob", 0), Kept::New { .. }));
    }
    assert_eq!(say(&store, "bob", 0), Kept::InboxFull);
    assert!(matches!(say(&store, "cid", 0), Kept::New { .. }));
    // One that never comes back does not stand in the way of one that does.
    arrives(&store, 1);
    acknowledges(&store, 0, 5);
    assert!(matches!(say(&store, "bob", 0), Kept::New { .. }));
    assert_eq!(waiting(&store).len() as u64, INBOX_MESSAGES_MAX);
    acknowledges(&store, 1, INBOX_MESSAGES_MAX);
    acknowledges(&store, 0, INBOX_MESSAGES_MAX);
    assert_eq!(waiting(&store), [INBOX_MESSAGES_MAX + 2]);
}

#[test]
fn a_repeat_is_known_as_long_as_it_is_among_the_last() {
    let store = MemoryStore::default();
    let first = id(&say(&store, "#tea", 1));
    assert_eq!(say(&store, "#tea", 1), Kept::Again(first));
    for number in 2..=REPEATS_KNOWN_MAX + 1 {
        say(&store, "#tea", number);
    }
    assert!(matches!(say(&store, "#tea", 2), Kept::Again(_)));
    assert!(id(&say(&store, "#tea", 1)) > first, "it is forgotten");
}

#[test]
fn a_history_is_read_backwards_page_by_page() {
    let store = MemoryStore::default();
    for to in ["bob", "cid", "bob", "#tea", "bob"] {
        say(&store, to, 0);
    }
    let page = |before: u64| {
        let name = conversation("bob", "ann");
        let page = history(&store, &name, 0, before, 2).expect("memory does not fail");
        page.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(page(u64::MAX), [3, 5]);
    assert_eq!(page(3), [1]);
    assert!(page(1).is_empty());
}

#[test]
fn the_nth_last_message_is_found_where_there_are_so_many() {
    let store = MemoryStore::default();
    for to in ["#tea", "bob", "#tea", "#tea", "cid", "#tea"] {
        say(&store, to, 0);
    }
    let found = |after, nth| nth_last(&store, "#tea", after, nth).expect("memory does not fail");
    assert_eq!(
        (found(0, 1), found(0, 3), found(0, 4)),
        (Some(6), Some(3), Some(1))
    );
    assert_eq!(found(0, 5), None);
    assert_eq!(
        (found(1, 3), found(1, 4), found(6, 1)),
        (Some(3), None, None)
    );
}

#[test]
fn a_history_and_an_inbox_hold_no_more_than_they_may_and_lose_the_oldest() {
    let store = MemoryStore::default();
    arrives(&store, 0);
    arrives(&store, 1);
    // A device that never comes back, and one that gets everything.
    for id in 1..=INBOX_MESSAGES_MAX + 3 {
        assert!(matches!(say(&store, "bob", 0), Kept::New { .. }), "{id}");
        acknowledges(&store, 0, id);
    }
    let kept = waiting(&store);
    assert_eq!(kept.len() as u64, INBOX_MESSAGES_MAX);
    assert_eq!(kept.first(), Some(&4));
    // And once more, when it had been empty.
    acknowledges(&store, 1, INBOX_MESSAGES_MAX + 3);
    assert!(waiting(&store).is_empty());
    say(&store, "bob", 0);
    assert_eq!(waiting(&store), [INBOX_MESSAGES_MAX + 4]);
}

#[test]
fn messages_of_one_change_are_numbered_on_from_those_before_and_from_each_other() {
    let store = MemoryStore::default();
    say(&store, "bob", 1);
    let raw = raw("bob");
    let said = |client_id| Said {
        from: "ann",
        platform: 0,
        to: "bob",
        client_id,
        time: 0,
        raw: &raw,
    };
    let mut ids = Vec::new();
    let done = change(&store, |ledger| {
        for client_id in [2, 3, 2, 1] {
            ids.push(id(&ledger.keep(&said(client_id))?));
        }
        ids.push(ledger.last_id()?);
        Ok(())
    });
    done.expect("memory does not fail");
    assert_eq!(ids, [2, 3, 2, 1, 3]);
    assert_eq!(last_id(&store).expect("readable"), 3);
    assert_eq!(waiting(&store), [1, 2, 3]);
    let failed = change(&store, |ledger| {
        ledger.keep(&said(4))?;
        Err(io::Error::other("no"))
    });
    assert!(failed.is_err());
    assert_eq!(
        last_id(&store).expect("readable"),
        3,
        "nothing of it is there"
    );
    assert_eq!(id(&say(&store, "bob", 4)), 4);
}

#[test]
fn a_store_of_another_format_is_not_touched() {
    let store = MemoryStore::default();
    let name = store_name(&store).expect("a new store");
    assert_eq!(store_name(&store).expect("the same one"), name);
    let older = MemoryStore::default();
    let done = older.change(&mut |change| change.put(b"e", &7u64.to_be_bytes()));
    done.expect("memory does not fail");
    let fault = store_name(&older).expect_err("no format");
    assert!(fault.to_string().contains("another build"), "{fault}");
}
