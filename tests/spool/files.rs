//! Files that cannot be what they should.

use std::fs;

use netwheel::ErrorKind;
use netwheel::link::Wire;
use netwheel::link::{Cursor, Position, SpoolFile};
use netwheel::stack::{StackCodec, StackWire};

use crate::util::Scratch;

fn codec() -> StackCodec {
    StackWire::default().codec()
}

#[test]
fn a_file_that_is_open_is_refused_in_words_that_say_what_to_do() {
    let scratch = Scratch::new("open-twice");
    let file = SpoolFile::open(scratch.path("spool")).unwrap();
    let error = SpoolFile::open(scratch.path("spool")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse);
    assert!(error.to_string().contains("end the other one"), "{error}");
    drop(file);
    SpoolFile::open(scratch.path("spool")).unwrap();
}

#[test]
fn what_is_no_spool_is_refused_and_left_alone() {
    let scratch = Scratch::new("no-spool");
    let long = b"shopping list: milk, honey. ".repeat(1000);
    for bytes in [&b"shopping list"[..], &long] {
        fs::write(scratch.path("list"), bytes).unwrap();
        let error = SpoolFile::open(scratch.path("list")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains("move it away"), "{error}");
        assert_eq!(fs::read(scratch.path("list")).unwrap(), bytes);
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let scratch = Scratch::new("no-folder");
    let error = SpoolFile::open(scratch.path("nowhere/spool")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("nowhere/spool"), "{error}");
}

#[test]
fn a_file_with_damaged_bytes_is_an_error_or_as_it_was_and_never_a_panic() {
    let scratch = Scratch::new("damaged");
    let path = scratch.path("spool");
    let file = SpoolFile::open(&path).unwrap();
    file.cursor("in").store("n1", Position::new(7, 9)).unwrap();
    drop(file);
    let sound = fs::read(&path).unwrap();
    for nth in 0..64 {
        let mut bytes = sound.clone();
        let at = nth * 97 % bytes.len().min(8192);
        bytes[at] ^= 0xff;
        fs::write(&path, &bytes).unwrap();
        // Opening is all that is asked of it: what a page says that nobody checks cannot be told.
        if let Err(error) = SpoolFile::open(&path) {
            assert!(!error.to_string().is_empty());
        }
    }
    fs::write(&path, &sound[..sound.len() / 3]).unwrap();
    assert!(SpoolFile::open(&path).is_err());
    fs::write(&path, &sound).unwrap();
    let found = SpoolFile::open(&path)
        .unwrap()
        .cursor("in")
        .load("n1")
        .unwrap();
    assert_eq!(found, Some(Position::new(7, 9)));
}

#[test]
fn a_name_belongs_to_one_link_at_a_time_and_there_are_only_so_many() {
    let scratch = Scratch::new("names");
    let file = SpoolFile::builder()
        .names_max(1)
        .open(scratch.path("spool"))
        .unwrap();
    let first = file.spool("a", codec()).unwrap();
    assert_eq!(
        file.spool("a", codec()).unwrap_err().kind(),
        ErrorKind::Misuse
    );
    assert_eq!(
        file.spool("b", codec()).unwrap_err().kind(),
        ErrorKind::OverLimit
    );
    drop(first);
    file.spool("a", codec()).unwrap();
    let cursor = file.cursor("in");
    cursor.store("a", Position::new(1, 1)).unwrap();
    cursor.store("a", Position::new(1, 2)).unwrap();
    let refused = cursor.store("b", Position::new(1, 1)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OverLimit);
}
