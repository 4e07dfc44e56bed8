//! Messages that are text.

use super::Body;
use crate::error::{Failure, Result};

/// Text, as a [`String`].
///
/// ```
/// use bytes::BytesMut;
/// use netwheel::codec::{Codec, Framing, Lines, Utf8};
///
/// let mut codec = Lines::new().then(Utf8::new());
/// let mut input = BytesMut::from("grüß dich\n");
/// assert_eq!(codec.decode(&mut input)?.as_deref(), Some("grüß dich"));
///
/// let mut lossy = Lines::new().then(Utf8::lossy());
/// let mut input = BytesMut::from(&b"gr\xFC\xDF dich\n"[..]);
/// assert_eq!(lossy.decode(&mut input)?.as_deref(), Some("gr\u{FFFD}\u{FFFD} dich"));
/// # Ok::<(), netwheel::Failure>(())
/// ```
///
/// Threads: the connection's worker. Cost: one allocation for a message that arrives, none for one that is
/// sent. Limit: that of the framing; lossy, a message may grow to three times its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    lossy: bool,
}

impl Utf8 {
    /// Strict: bytes that are not UTF-8 close the connection with `protocol_error`.
    #[must_use]
    pub const fn new() -> Self {
        Self { lossy: false }
    }

    /// Lossy: what is not UTF-8 becomes U+FFFD, the replacement character.
    #[must_use]
    pub const fn lossy() -> Self {
        Self { lossy: true }
    }
}

impl Body for Utf8 {
    type In = String;
    type Out = String;

    fn decode(&mut self, frame: &[u8]) -> Result<String> {
        if self.lossy {
            return Ok(String::from_utf8_lossy(frame).into_owned());
        }
        let text = std::str::from_utf8(frame).map_err(Failure::protocol)?;
        Ok(text.to_owned())
    }

    fn encode(&mut self, out: String, dst: &mut Vec<u8>) -> Result<()> {
        dst.extend_from_slice(out.as_bytes());
        Ok(())
    }

    fn weigh(out: &String) -> usize {
        out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CloseReason;

    #[test]
    fn strict_text_is_text() {
        let text = "naïve 東京 \u{10FFFF}";
        let decoded = Utf8::new().decode(text.as_bytes());
        assert_eq!(decoded.expect("it is UTF-8"), text);
        // Cut in the middle, overlong, a surrogate, beyond the last character, no lead byte.
        for bad in [
            &b"\xE6\x9D"[..],
            b"\xC0\xAF",
            b"\xED\xA0\x80",
            b"\xF4\x90\x80\x80",
            b"\x80",
        ] {
            let failure = Utf8::new().decode(bad).expect_err("it is not UTF-8");
            assert_eq!(failure.reason(), CloseReason::ProtocolError);
            assert!(
                Utf8::lossy()
                    .decode(bad)
                    .expect("lossy")
                    .contains('\u{FFFD}')
            );
        }
    }

    #[test]
    fn text_is_appended_and_weighs_its_bytes() {
        let mut dst = b"before ".to_vec();
        let encoded = Utf8::new().encode("é".to_owned(), &mut dst);
        assert!(encoded.is_ok() && dst == "before é".as_bytes());
        assert_eq!(Utf8::weigh(&"é".to_owned()), 2);
    }
}
