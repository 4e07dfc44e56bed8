//! Lines by example, those of Netty's own tests among them, and the law.

use proptest::prelude::*;

use super::*;
use crate::codec::law::{
    Found::{self, Bad, Message},
    check_cuts, encoded, policy, receive,
};

fn line(text: &str) -> Found {
    Message(text.into())
}

fn cut_off(text: &str) -> Found {
    let (bytes, min) = (text.len(), text.len() + 1);
    Bad(FrameErrorKind::Truncated { bytes, min })
}

const LONE_CR: Found = Bad(FrameErrorKind::Malformed("a CR without an LF behind it"));
const LONE_LF: Found = Bad(FrameErrorKind::Malformed("an LF without a CR before it"));

#[test]
fn lenient_lines_end_with_either() {
    let found = receive(&Lines::new(), ["One\r\nTwo\nThree\r\n\n\rdata\r\r\nlast\r"]);
    let lines = ["One", "Two", "Three", "", "\rdata\r"].map(line);
    assert_eq!(found[..5], lines);
    assert_eq!(found[5], cut_off("last\r"));
}

#[test]
fn an_end_in_two_reads_is_one_end() {
    for lines in [Lines::new(), Lines::crlf()] {
        let found = receive(&lines, ["hu", "lk\r", "\n", "\r\n", "x\r\n"]);
        assert_eq!(found, ["hulk", "", "x"].map(line));
    }
}

/// Netty counts a CR against the maximum that turns out to be part of the end.
#[test]
fn the_end_does_not_count() {
    for lines in [Lines::new(), Lines::crlf()] {
        let lines = lines.frame_bytes_max(3);
        assert_eq!(receive(&lines, ["abc\r", "\n"]), [line("abc")]);
        assert_eq!(receive(&lines, ["abc\r\n"]), [line("abc")]);
        let too_long = Bad(FrameErrorKind::NoEnd { max: 3 });
        assert_eq!(receive(&lines, ["abcd"]), [too_long]);
    }
}

#[test]
fn decoding_goes_on_behind_a_line_that_is_too_long() {
    let lines = Lines::new().frame_bytes_max(4).on_error(OnFrameError::Skip);
    let too_long = Bad(FrameErrorKind::NoEnd { max: 4 });
    let expected = [too_long, line("ok"), line("")];
    for reads in [
        &["12345\r\nok\n\n"][..],
        &["123", "45678", "90", "\r", "\nok\n\n"],
        &["12345\r", "67\n", "ok\n", "\n"],
    ] {
        assert_eq!(receive(&lines, reads), expected);
    }
}

#[test]
fn a_line_that_is_too_long_is_told_of_before_it_ends() {
    let mut lines = Lines::new().frame_bytes_max(1024);
    let input = [b'x'; 1025];
    assert_eq!(lines.scan(&input[..1024]), Ok(Scan::More(1025)));
    let error = lines.scan(&input).expect_err("it is too long");
    assert_eq!(error.kind(), FrameErrorKind::NoEnd { max: 1024 });
    let text = error.to_string();
    assert!(text.starts_with("a message without an end in the 1024 bytes that are allowed; it"));
}

#[test]
fn strict_lines_take_no_lone_cr_and_no_lone_lf() {
    let strict = Lines::crlf().on_error(OnFrameError::Skip);
    let found = receive(&strict, ["a\r\nb\nc\r\nd\re\n\r\nf\r\r\ng\r\n"]);
    let expected = [line("a"), LONE_LF, LONE_CR, LONE_CR, line("g")];
    assert_eq!(found, expected);
    assert_eq!(receive(&Lines::crlf(), ["x\n"]), [LONE_LF]);
}

#[test]
fn lines_are_sent_with_their_ends() {
    let words: [&[u8]; 2] = [b"one", b""];
    assert_eq!(encoded(&Lines::new(), &words), Ok(b"one\n\n".to_vec()));
    for lines in [Lines::crlf(), Lines::new().send_crlf()] {
        assert_eq!(encoded(&lines, &words), Ok(b"one\r\n\r\n".to_vec()));
    }
}

#[test]
fn a_message_that_would_arrive_otherwise_is_refused() {
    let held = Err(FrameErrorKind::Malformed(
        "a line that holds an end of line",
    ));
    assert_eq!(encoded(&Lines::new(), &[b"a\nb"]), held);
    assert_eq!(encoded(&Lines::new(), &[b"a\r"]), held);
    assert_eq!(encoded(&Lines::crlf(), &[b"a\rb"]), held);
    assert!(encoded(&Lines::new().send_crlf(), &[b"a\r"]).is_ok());
    assert!(encoded(&Lines::new(), &[b"a\rb"]).is_ok());
    let too_long = FrameErrorKind::TooLong { bytes: 4, max: 3 };
    let short = Lines::new().frame_bytes_max(3);
    assert_eq!(encoded(&short, &[b"abc", b"abcd"]), Err(too_long));
}

/// A byte at a time, a megabyte takes a second where each byte makes the line be looked at again.
#[test]
fn no_byte_is_looked_at_again_when_the_next_arrives() {
    let input = vec![b'x'; 1 << 20];
    let mut lines = Lines::new();
    for end in 1..=input.len() {
        assert_eq!(lines.scan(&input[..end]), Ok(Scan::More(end + 1)));
        assert_eq!(lines.scanned, end, "all of it is known to hold no end");
    }
}

/// Decodes a stream that is there as a whole, without any state.
fn oracle(strict: bool, max: usize, policy: OnFrameError, stream: &str) -> Vec<Found> {
    let (mut found, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let one = if strict {
            strict_one(max, rest)
        } else {
            lenient_one(max, rest)
        };
        let bad = matches!(one, Bad(_));
        found.push(one);
        if bad && policy == OnFrameError::Close {
            break;
        }
        let end = if strict { "\r\n" } else { "\n" };
        rest = rest.split_once(end).map_or("", |(_, behind)| behind);
    }
    found
}

fn lenient_one(max: usize, rest: &str) -> Found {
    let first = rest.split('\n').next().unwrap_or_default();
    let content = first.strip_suffix('\r').unwrap_or(first);
    if content.len() > max {
        Bad(FrameErrorKind::NoEnd { max: max as u64 })
    } else if first.len() == rest.len() {
        cut_off(rest)
    } else {
        line(content)
    }
}

fn strict_one(max: usize, rest: &str) -> Found {
    let content = rest.split(['\r', '\n']).next().unwrap_or_default();
    if content.len() > max {
        return Bad(FrameErrorKind::NoEnd { max: max as u64 });
    }
    match &rest[content.len()..] {
        "" | "\r" => cut_off(rest),
        end if end.starts_with("\r\n") => line(content),
        end if end.starts_with('\r') => LONE_CR,
        _ => LONE_LF,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn lines_and_errors_do_not_depend_on_the_cut(
        strict in any::<bool>(),
        max in 0_usize..8,
        policy in policy(),
        stream in "(a{0,9}|\r|\n|\r\n|\r\n|b){0,16}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let lines = if strict { Lines::crlf() } else { Lines::new() };
        let lines = lines.frame_bytes_max(max).on_error(policy);
        let expected = oracle(strict, max, policy, &stream);
        check_cuts(&lines, stream.as_bytes(), &cuts, &expected)?;
    }

    #[test]
    fn decoding_gives_back_what_was_encoded(
        lines in prop::sample::select(vec![Lines::new(), Lines::crlf(), Lines::new().send_crlf()]),
        words in prop::collection::vec("[ab\r\n]{0,5}", 0..8),
    ) {
        let accepted: Vec<_> = words
            .iter()
            .map(String::as_bytes)
            .filter(|word| encoded(&lines, &[word]).is_ok())
            .collect();
        let wire = encoded(&lines, &accepted).expect("each was accepted");
        let sent: Vec<_> = accepted.iter().map(|word| Message(word.to_vec())).collect();
        prop_assert_eq!(receive(&lines, [&wire]), sent);
    }
}
