//! Delimiters by example, those of Netty's own tests among them, and the law.

use proptest::prelude::*;

use super::*;
use crate::codec::law::{
    Found::{self, Bad, Message},
    check_cuts, encoded, policy, receive,
};

fn message(text: &str) -> Found {
    Message(text.into())
}

fn cut_off(bytes: usize) -> Found {
    let min = bytes + 1;
    Bad(FrameErrorKind::Truncated { bytes, min })
}

fn any_of(delimiters: &[&str]) -> Delimiter {
    Delimiter::any_of(delimiters).expect("none stands inside another")
}

#[test]
fn frames_end_with_the_delimiter_however_it_arrives() {
    let framing = Delimiter::new("$_").frame_bytes_max(1024);
    let frames = ["bbbb", "cccc"].map(message);
    assert_eq!(receive(&framing, ["bbbb$_cccc$_"]), frames);
    assert_eq!(receive(&framing, ["bbbb$", "_cccc$", "_"]), frames);
    let found = receive(&framing, ["a$$_", "$", "_$"]);
    assert_eq!(found, [message("a$"), message(""), cut_off(1)]);
}

#[test]
fn a_frame_without_a_delimiter_is_told_of_at_the_first_byte_too_many() {
    let mut framing = Delimiter::new("$_").frame_bytes_max(1024);
    let input = [b'x'; 1025];
    assert_eq!(framing.scan(&input[..1024]), Ok(Scan::More(1025)));
    let error = framing.scan(&input).expect_err("it is too long");
    assert_eq!(error.kind(), FrameErrorKind::NoEnd { max: 1024 });
    assert_eq!(error.reason(), crate::CloseReason::OverLimit);
}

#[test]
fn the_shortest_frame_wins() {
    let lines = any_of(&["\r\n", "\n"]);
    let frames = ["One", "Two", "Three", ""].map(message);
    assert_eq!(receive(&lines, ["One\r\nTwo\nThree\r", "\n\n"]), frames);
    let many = any_of(&["--", "x", "yz", "#", "+-+"]);
    let frames = ["a", "-b", "c", "d", "+e"].map(message);
    assert_eq!(receive(&many, ["a---bxcyzd#+e+-", "+"]), frames);
}

#[test]
fn the_delimiter_may_stay() {
    let framing = any_of(&["\r\n", "\n"]).keep().frame_bytes_max(3);
    let found = receive(&framing, ["One\r\nTwo\n"]);
    assert_eq!(found, [message("One\r\n"), message("Two\n")]);
    let sent: [&[u8]; 2] = [b"One\r\n", b"2\n"];
    assert_eq!(encoded(&framing, &sent), Ok(b"One\r\n2\n".to_vec()));
    let missing = FrameErrorKind::Malformed("a message without one delimiter, at its end");
    for bad in [&b"one"[..], b"a\nb\n", b""] {
        assert_eq!(encoded(&framing, &[bad]), Err(missing));
    }
    let too_long = FrameErrorKind::TooLong { bytes: 4, max: 3 };
    assert_eq!(encoded(&framing, &[b"four\r\n"]), Err(too_long));
}

/// Netty drops a cut delimiter with the frame before it, and then swallows the next good frame.
#[test]
fn a_cut_delimiter_ends_a_frame_that_is_passed_over() {
    let framing = Delimiter::new("$_")
        .frame_bytes_max(2)
        .on_error(OnFrameError::Skip);
    let expected = [Bad(FrameErrorKind::NoEnd { max: 2 }), message("A")];
    for reads in [
        &["abc$_A$_"][..],
        &["abcdef$", "_A$_"],
        &["ab", "c", "$", "_", "A$", "_"],
    ] {
        assert_eq!(receive(&framing, reads), expected);
    }
}

#[test]
fn sets_in_which_the_cut_would_decide_are_refused() {
    for (set, word) in [
        (&[][..], "none was given"),
        (&["a", ""], "at least one byte"),
        (&["ab", "a"], "\"ab\" would never be found"),
        (&["b", "abc"], "\"abc\" would never be found"),
    ] {
        let error = Delimiter::any_of(set).expect_err("it cannot work");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(Delimiter::any_of(["a", "a", "ba"]).is_ok());
}

#[test]
fn a_message_that_would_arrive_otherwise_is_refused() {
    let held = Err(FrameErrorKind::Malformed(
        "a message that holds a delimiter",
    ));
    for (delimiters, bad) in [
        (&["$_"][..], "a$_b"),
        (&["$_"], "$_"),
        (&["$$"], "a$"),
        (&["\n", "\r\n"], "a\r"),
    ] {
        assert_eq!(encoded(&any_of(delimiters), &[bad.as_bytes()]), held);
    }
    let framing = Delimiter::new("$_").frame_bytes_max(2);
    assert_eq!(encoded(&framing, &[b"a$"]), Ok(b"a$$_".to_vec()));
    let too_long = FrameErrorKind::TooLong { bytes: 3, max: 2 };
    assert_eq!(encoded(&framing, &[b"abc"]), Err(too_long));
}

#[test]
fn no_byte_is_looked_at_again_when_the_next_arrives() {
    let input = vec![b'$'; 1 << 18];
    let mut framing = Delimiter::new("$_");
    for end in 1..=input.len() {
        assert_eq!(framing.scan(&input[..end]), Ok(Scan::More(end + 1)));
        assert_eq!(
            framing.scanned, end,
            "all of it is known to end no delimiter"
        );
    }
}

/// Netty's rule, on a stream that is there as a whole: the delimiter whose first occurrence makes the shortest
/// frame.
fn oracle(set: &[&str], max: usize, policy: OnFrameError, stream: &str) -> Vec<Found> {
    let (mut found, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let places = set.iter().filter_map(|one| Some((rest.find(one)?, *one)));
        let end = places.min_by_key(|(start, _)| *start);
        let no_end = Bad(FrameErrorKind::NoEnd { max: max as u64 });
        let one = match end {
            Some((start, _)) if start <= max => message(&rest[..start]),
            None if may_still_end(set, max, rest) => cut_off(rest.len()),
            _ => no_end,
        };
        let bad = matches!(one, Bad(_));
        found.push(one);
        if bad && policy == OnFrameError::Close {
            break;
        }
        rest = end.map_or("", |(start, one)| &rest[start + one.len()..]);
    }
    found
}

/// Whether more bytes could make a good frame of `rest`.
fn may_still_end(set: &[&str], max: usize, rest: &str) -> bool {
    (0..=max.min(rest.len())).any(|start| set.iter().any(|one| one.starts_with(&rest[start..])))
}

fn sets() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::select(vec![
        vec!["$_"],
        vec!["$$"],
        vec!["$"],
        vec!["$_$"],
        vec!["\r\n", "\n"],
        vec!["\n", "\r\n"],
        vec!["a$_", "$_", "_a"],
        vec!["$a$a_", "__", "\n", "\r$", "a\r"],
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn frames_and_errors_do_not_depend_on_the_cut(
        set in sets(),
        max in 0_usize..7,
        policy in policy(),
        stream in "[a$_\r\n]{0,40}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let framing = any_of(&set).frame_bytes_max(max).on_error(policy);
        let expected = oracle(&set, max, policy, &stream);
        check_cuts(&framing, stream.as_bytes(), &cuts, &expected)?;
    }

    #[test]
    fn decoding_gives_back_what_was_encoded(
        set in sets(),
        keep in any::<bool>(),
        words in prop::collection::vec("[a$_\r\n]{0,6}", 0..8),
    ) {
        let framing = if keep { any_of(&set).keep() } else { any_of(&set) };
        let accepted: Vec<_> = words
            .iter()
            .map(String::as_bytes)
            .filter(|word| encoded(&framing, &[word]).is_ok())
            .collect();
        let wire = encoded(&framing, &accepted).expect("each was accepted");
        let sent: Vec<_> = accepted.iter().map(|word| Message(word.to_vec())).collect();
        prop_assert_eq!(receive(&framing, [&wire]), sent);
    }
}
