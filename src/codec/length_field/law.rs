//! The law: what a stream holds does not depend on how it was cut into reads, held against an oracle.

use proptest::prelude::*;

use super::*;
use crate::codec::Codec;
use crate::codec::law::{
    Found::{self, Bad, Message},
    check_cuts, receive,
};
use FrameErrorKind as Kind;

/// The numbers of a layout, as a book on Netty would give them.
#[derive(Clone, Debug)]
struct Book {
    width: usize,
    offset: usize,
    adjustment: i64,
    strip: usize,
    little_endian: bool,
    includes_length: bool,
    max: usize,
    policy: OnFrameError,
}

impl Book {
    fn framing(&self) -> Result<LengthField, Error> {
        let builder = LengthField::builder(self.width).offset(self.offset);
        let builder = builder
            .adjustment(self.adjustment)
            .strip(self.strip)
            .decode_only();
        let mut framing = builder.build()?;
        if self.includes_length {
            framing = framing.includes_length();
        }
        if self.little_endian {
            framing = framing.little_endian();
        }
        let header = self.offset + self.width + usize::try_from(self.adjustment).unwrap_or(0);
        Ok(framing
            .frame_bytes_max(self.max.max(header))
            .on_error(self.policy))
    }

    /// Bytes behind the field, less its value.
    fn behind_field(&self) -> i64 {
        let own = usize::from(self.includes_length) * self.width;
        self.adjustment - own as i64
    }

    /// Decodes a stream that is there as a whole, in the widest arithmetic and without any state.
    fn decode(&self, framing: &LengthField, stream: &[u8]) -> Vec<Found> {
        let (mut found, mut at) = (Vec::new(), 0);
        while at < stream.len() {
            let (one, behind) = self.decode_one(framing.bytes_max, &stream[at..]);
            let bad = matches!(one, Bad(_));
            found.push(one);
            if bad && self.policy == OnFrameError::Close {
                break;
            }
            at += behind.min((stream.len() - at) as i128) as usize;
        }
        found
    }

    /// Decodes the frame at the front of `stream`; answers also where the next one starts.
    fn decode_one(&self, max: usize, stream: &[u8]) -> (Found, i128) {
        let (end, rest) = (self.offset + self.width, stream.len() as i128);
        let bytes = stream.len();
        if bytes < end {
            return (Bad(Kind::Truncated { bytes, min: end }), rest);
        }
        let mut field = stream[self.offset..end].to_vec();
        if !self.little_endian {
            field.reverse();
        }
        field.resize(8, 0);
        let value = u64::from_le_bytes(field.try_into().expect("eight bytes"));
        let (signed, adjustment) = (value as i64, self.behind_field());
        let (end, strip) = (end as i128, self.strip as u64);
        let whole = i128::from(value) + i128::from(adjustment) + end;
        let message = whole - i128::from(strip);

        let (kind, behind) = if self.width == 8 && signed < 0 {
            (Kind::NegativeLength { value: signed }, end)
        } else if whole < end {
            let min = adjustment.unsigned_abs();
            (Kind::LengthBelowHeader { value, min }, end)
        } else if whole > i128::from(i64::MAX) {
            (Kind::LengthOverflow { value }, end)
        } else if message < 0 {
            let bytes = whole as u64;
            (Kind::TooShort { bytes, min: strip }, whole)
        } else if message > max as i128 {
            let (bytes, max) = (message as u64, max as u64);
            (Kind::TooLong { bytes, max }, whole)
        } else if whole > rest {
            let min = whole as usize;
            (Kind::Truncated { bytes, min }, rest)
        } else {
            let message = stream[self.strip..whole as usize].to_vec();
            return (Message(message), whole);
        };
        (Bad(kind), behind)
    }
}

fn book() -> impl Strategy<Value = Book> {
    let layout = (
        prop::sample::select(vec![1, 2, 3, 4, 8]),
        0_usize..5,
        -10_i64..8,
        0_usize..12,
    );
    let policy = prop_oneof![1 => Just(OnFrameError::Close), 2 => Just(OnFrameError::Skip)];
    (layout, any::<bool>(), any::<bool>(), 0_usize..120, policy).prop_map(
        |((width, offset, adjustment, strip), little_endian, includes_length, max, policy)| Book {
            width,
            offset,
            adjustment,
            strip,
            little_endian,
            includes_length,
            max,
            policy,
        },
    )
}

/// What a peer may write: a length, true or not, and bytes behind it.
fn writing() -> impl Strategy<Value = (u64, usize, bool)> {
    let length = prop_oneof![
        6 => 0_u64..24,
        2 => 0_u64..120,
        1 => prop::sample::select(vec![u64::MAX, i64::MAX as u64, 1 << 63, 0xFFFF_FFFF, 1 << 33]),
    ];
    (length, 0_usize..60, prop::bool::weighted(0.8))
}

fn stream(book: &Book, writings: &[(u64, usize, bool)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for &(length, random, honest) in writings {
        let fill = |place: usize| (place * 7 + 1) as u8;
        stream.extend((0..book.offset).map(fill));
        let field = length.to_le_bytes();
        let low_first = field[..book.width].iter();
        if book.little_endian {
            stream.extend(low_first)
        } else {
            stream.extend(low_first.rev())
        }
        let behind = i128::from(length) + i128::from(book.behind_field());
        let behind = usize::try_from(behind).unwrap_or(0);
        let behind = if honest && behind < 300 {
            behind
        } else {
            random
        };
        stream.extend((0..behind).map(fill));
    }
    stream
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn frames_and_errors_do_not_depend_on_the_cut(
        book in book(),
        writings in prop::collection::vec(writing(), 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        torn in 0_usize..4,
    ) {
        let Ok(framing) = book.framing() else { return Ok(()) };
        let mut stream = stream(&book, &writings);
        stream.truncate(stream.len() - torn.min(stream.len()));
        let expected = book.decode(&framing, &stream);

        check_cuts(&framing, &stream, &cuts, &expected)?;
    }

    #[test]
    fn decoding_gives_back_what_was_encoded(
        book in book(),
        sizes in prop::collection::vec(0_usize..400, 1..8),
    ) {
        let strip = if book.offset == 0 && book.strip > 5 { book.width } else { 0 };
        let Ok(framing) = (Book { strip, max: 300, ..book }).framing() else { return Ok(()) };
        let (mut built, mut wrapped) = (framing.clone(), framing.clone());
        let (mut wire, mut output, mut sent) = (Vec::new(), Output::new(), Vec::new());
        for size in sizes {
            let message: Vec<u8> = (0..size).map(|place| place as u8).collect();
            let start = wire.len();
            built.begin(&mut wire);
            wire.extend_from_slice(&message);
            let answer = built.end(&mut wire, start);
            prop_assert_eq!(answer.is_ok(), wrapped.encode(message.into(), &mut output).is_ok());
            match answer {
                Ok(()) => sent.push(wire[start + strip..].to_vec()),
                Err(_) => wire.truncate(start),
            }
        }
        prop_assert_eq!(&wire, output.tail(), "both ways of encoding agree");
        let sent: Vec<_> = sent.into_iter().map(Message).collect();
        prop_assert_eq!(receive(&framing, [&wire[..]]), sent);
    }
}
