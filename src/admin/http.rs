//! HTTP/1, as far as a few pages need it: GET and HEAD, no bodies in, keep-alive, pipelining.
//!
//! What is not understood is answered once and ends the connection, since nobody knows where the next
//! request would begin (request smuggling lives there).

use bytes::{Buf, Bytes, BytesMut};
use httparse::{EMPTY_HEADER, Error as Flaw, Header, Status as Progress};

use crate::buffer::Output;
use crate::codec::Codec;
use crate::error::Result;
use crate::limits::ADMIN_HEAD_BYTES_MAX;

/// More than any browser sends.
const HEADERS_MAX: usize = 64;

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    HeadTooLarge,
    VersionNotSupported,
    Unavailable,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed\r\nallow: GET, HEAD",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Get {
        /// Without the query.
        path: String,
        manner: Manner,
    },
    /// Nothing that is understood; the connection ends behind the answer.
    Flawed(Status),
}

/// How an answer is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// HEAD: everything but the body.
    pub(super) head_only: bool,
    /// Whether the connection stays open for another request.
    pub(super) keep_alive: bool,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: Status,
    pub(super) media_type: &'static str,
    pub(super) body: Bytes,
    pub(super) manner: Manner,
    /// Which of the connection's requests it answers, where that took some time.
    pub(super) number: u32,
}

/// The codec of one connection.
#[derive(Debug, Default)]
pub(super) struct Http {
    /// Whether a flaw was found: what follows is thrown away.
    ended: bool,
}

impl Codec for Http {
    type In = Request;
    type Out = Response;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Request>> {
        if self.ended {
            input.clear();
            return Ok(None);
        }
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        let request = match head.parse(input) {
            Ok(Progress::Partial) if input.len() <= ADMIN_HEAD_BYTES_MAX => return Ok(None),
            Ok(Progress::Complete(len)) if len <= ADMIN_HEAD_BYTES_MAX => {
                let request = read_head(&head);
                input.advance(len);
                request
            }
            Ok(_) | Err(Flaw::TooManyHeaders) => Request::Flawed(Status::HeadTooLarge),
            Err(Flaw::Version) => Request::Flawed(Status::VersionNotSupported),
            Err(_) => Request::Flawed(Status::BadRequest),
        };
        self.ended = matches!(request, Request::Flawed(_));
        Ok(Some(request))
    }

    fn encode(&mut self, out: Response, dst: &mut Output) -> Result<()> {
        let connection = match out.manner.keep_alive {
            true => "keep-alive",
            false => "close",
        };
        let head = format!(
            "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: {connection}\r\n{FIXED}\r\n",
            out.status.line(),
            out.media_type,
            out.body.len(),
        );
        dst.put(head.as_bytes());
        if !out.manner.head_only {
            dst.push(out.body);
        }
        Ok(())
    }

    fn weigh(out: &Response) -> usize {
        size_of_val(out) + out.body.len()
    }
}

/// Headers of every answer. Nothing is kept, guessed, framed by another page, or loaded from elsewhere.
const FIXED: &str = "cache-control: no-store\r\n\
    x-content-type-options: nosniff\r\n\
    content-security-policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
    connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n";

/// What a whole head asks.
fn read_head(head: &httparse::Request<'_, '_>) -> Request {
    let head_only = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Request::Flawed(Status::MethodNotAllowed),
    };
    let is_newer = head.version == Some(1);
    let hosts = values(head.headers, "host").count();
    let target = head.path.unwrap_or_default();
    if has_body(head.headers) || hosts > 1 || (is_newer && hosts == 0) || !target.starts_with('/') {
        return Request::Flawed(Status::BadRequest);
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let says = |word| says(head.headers, word);
    Request::Get {
        path: path.to_owned(),
        manner: Manner {
            head_only,
            keep_alive: !says("close") && (is_newer || says("keep-alive")),
        },
    }
}

/// Whether a body follows, which no GET here has.
fn has_body(headers: &[Header<'_>]) -> bool {
    let mut lengths = values(headers, "content-length");
    values(headers, "transfer-encoding").next().is_some() || lengths.any(|length| length != b"0")
}

/// Whether `Connection` says this word.
fn says(headers: &[Header<'_>], word: &str) -> bool {
    let mut words =
        values(headers, "connection").flat_map(|value| value.split(|&byte| byte == b','));
    words.any(|said| said.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

fn values<'a>(headers: &'a [Header<'_>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let named = headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes out of these pieces, in order.
    fn decode(pieces: &[&[u8]]) -> Vec<Request> {
        let (mut http, mut input, mut requests) = (Http::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(request) = http.decode(&mut input).expect("never fails") {
                requests.push(request);
            }
        }
        requests
    }

    fn get(path: &str, keep_alive: bool) -> Request {
        let head_only = false;
        let manner = Manner {
            head_only,
            keep_alive,
        };
        Request::Get {
            path: path.to_owned(),
            manner,
        }
    }

    fn flawed_as(text: &str) -> Status {
        match decode(&[text.as_bytes()]).as_slice() {
            [Request::Flawed(status)] => *status,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn requests_come_one_behind_the_other() {
        let two = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n\
            HEAD / HTTP/1.1\r\nhost: a\r\nConnection: x, Close\r\n\r\n";
        let head = Manner {
            head_only: true,
            keep_alive: false,
        };
        let path = "/".to_owned();
        let second = Request::Get { path, manner: head };
        assert_eq!(decode(&[two]), [get("/metrics", true), second]);
    }

    #[test]
    fn the_old_version_closes_unless_asked() {
        assert_eq!(decode(&[b"GET / HTTP/1.0\r\n\r\n"]), [get("/", false)]);
        let asked = b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
        assert_eq!(decode(&[asked]), [get("/", true)]);
    }

    #[test]
    fn what_is_not_understood_is_told_once_and_ends_the_stream() {
        let host = "Host: a\r\n";
        let bad = Status::BadRequest;
        assert_eq!(flawed_as("\x16\x03\x01\x02\0"), bad);
        assert_eq!(flawed_as("GET / HTTP/1.1\r\n\r\n"), bad, "no host");
        for line in [
            "Host: b\r\n",
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
        ] {
            let text = format!("GET / HTTP/1.1\r\n{host}{line}\r\nGET / HTTP/1.1\r\n{host}\r\n");
            assert_eq!(flawed_as(&text), bad, "{line}");
        }
        assert_eq!(flawed_as("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), bad);
        let post = format!("POST / HTTP/1.1\r\n{host}\r\n");
        assert_eq!(flawed_as(&post), Status::MethodNotAllowed);
        let version = flawed_as("GET / HTTP/2.7\r\n\r\n");
        assert_eq!(version, Status::VersionNotSupported);
    }

    #[test]
    fn a_head_is_bounded_whether_it_ends_or_not() {
        let long = "a".repeat(ADMIN_HEAD_BYTES_MAX);
        let head = format!("GET / HTTP/1.1\r\nHost: {long}");
        assert_eq!(flawed_as(&head), Status::HeadTooLarge);
        assert_eq!(flawed_as(&(head + "\r\n\r\n")), Status::HeadTooLarge);
        let many = "a: b\r\n".repeat(HEADERS_MAX + 1);
        let many = format!("GET / HTTP/1.1\r\n{many}\r\n");
        assert_eq!(flawed_as(&many), Status::HeadTooLarge);
    }

    /// Bytes that are nearly requests.
    fn nearly_requests() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![
                "GET ", "HEAD ", "POST ", "/", "/metrics", " HTTP/1.1\r\n", " HTTP/1.0\r\n", "Host: a\r\n",
                "Connection: close\r\n", "Content-Length: 0\r\n", "Content-Length: 1\r\n", "\r\n", "\n", "?",
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..8),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_mean_the_same_however_they_are_cut(
            bytes in nearly_requests(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let pieces: Vec<_> = places.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(decode(&pieces), decode(&[&bytes]));
        }
    }
}
