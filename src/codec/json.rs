//! Messages in JSON.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Body;
use crate::error::{Failure, Result};

/// Messages in JSON: `In` is read, `Out` is written. Needs the feature `json`.
///
/// ```
/// use bytes::BytesMut;
/// use netwheel::codec::{Codec, Framing, Json, LengthField};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct Ask { id: u64, key: String }
///
/// #[derive(Serialize)]
/// struct Answer { id: u64, value: Option<String> }
///
/// let mut codec = LengthField::u8().then(Json::<Ask, Answer>::new());
/// let mut input = BytesMut::from("\x15{\"id\": 7, \"key\": \"x\"}");
/// let ask = codec.decode(&mut input)?.expect("a whole frame");
/// assert_eq!((ask.id, &*ask.key), (7, "x"));
/// # Ok::<(), netwheel::Failure>(())
/// ```
/// One message is one JSON text; with [`Lines`](super::Lines) that makes JSON lines. What is no such text, or
/// not of the type, closes the connection with `protocol_error`; so do bytes behind it, and values nested more
/// than 128 deep.
///
/// Threads: the connection's worker. Cost: read where it arrived and written where it leaves from; no
/// allocation but those of `In`. Limit: that of the framing. A message that waits behind a handle weighs its
/// own size, without what it owns.
pub struct Json<In, Out> {
    types: PhantomData<fn(Out) -> In>,
}

impl<In, Out> Json<In, Out> {
    /// Reads `In`, writes `Out`.
    #[must_use]
    pub const fn new() -> Self {
        Self { types: PhantomData }
    }
}

impl<In, Out> Body for Json<In, Out>
where
    In: DeserializeOwned + 'static,
    Out: Serialize + 'static,
{
    type In = In;
    type Out = Out;

    fn decode(&mut self, frame: &[u8]) -> Result<In> {
        serde_json::from_slice(frame).map_err(Failure::protocol)
    }

    fn encode(&mut self, out: Out, dst: &mut Vec<u8>) -> Result<()> {
        Ok(serde_json::to_writer(dst, &out)?)
    }
}

// By hand, so that the types need not be `Clone` or `Debug`.
impl<In, Out> Clone for Json<In, Out> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<In, Out> fmt::Debug for Json<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::error::CloseReason;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Ask {
        id: u64,
        key: Option<String>,
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let mut json = Json::<Ask, Ask>::new();
        for key in [None, Some("\u{0}\"ü\n".to_owned())] {
            let (id, mut dst) = (u64::MAX, b"before".to_vec());
            let ask = || Ask {
                id,
                key: key.clone(),
            };
            json.encode(ask(), &mut dst).expect("it can be written");
            let text = dst.strip_prefix(b"before").expect("it is appended");
            assert_eq!(json.decode(text).expect("it was written"), ask());
        }
    }

    #[test]
    fn what_is_not_of_the_type_breaks_the_protocol() {
        let deep = "[".repeat(100_000);
        for bad in [
            "",
            "{",
            "7",
            "{\"id\": -1}",
            "{\"id\": 1} x",
            "\u{FFFF}",
            &deep,
        ] {
            let failure = Json::<Ask, ()>::new().decode(bad.as_bytes());
            let failure = failure.expect_err("it is no question");
            assert_eq!(failure.reason(), CloseReason::ProtocolError, "{bad:.9}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let mut json = Json::<(), BTreeMap<Option<u8>, u8>>::new();
        let map = BTreeMap::from([(None, 1)]);
        let failure = json.encode(map, &mut Vec::new());
        assert!(failure.is_err(), "a key of JSON is a text");
    }
}
