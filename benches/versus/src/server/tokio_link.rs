//! The wire of the private stack on tokio, by hand: tokio_util cuts the frames, a codec reads and writes them.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::FutureExt;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::codec::{Decoder, Encoder, Framed, LengthDelimitedCodec};

const MAGIC: u32 = 0xabef_0101;
const HEADER_BYTES: usize = 22;
const FRAME_BYTES_MAX: usize = 1 << 20;
const REQUEST_ID: &[u8] = b"rid";

const QUESTION: u8 = 0;
const ANSWER: u8 = 1;
const ONE_WAY: u8 = 2;
const LOGIN: u8 = 3;
const LOGIN_ANSWER: u8 = 4;
const PING: u8 = 5;
const PONG: u8 = 6;

const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// T and N of the heartbeats: a peer that is silent for so many such times has gone.
const HEARTBEAT: Duration = Duration::from_secs(5);
const MISSED_MAX: u32 = 3;

/// A frame, in what this server makes use of.
#[derive(Debug)]
pub struct Frame {
    kind: u8,
    priority: u8,
    id: Option<u64>,
    body: Bytes,
}

impl Frame {
    const fn new(kind: u8, body: Bytes) -> Self {
        Self {
            kind,
            priority: 0,
            id: None,
            body,
        }
    }

    const fn answer(&self, body: Bytes) -> Self {
        Self {
            kind: ANSWER,
            priority: self.priority,
            id: self.id,
            body,
        }
    }
}

/// Bytes to frames and back.
#[derive(Debug)]
pub struct LinkCodec {
    frames: LengthDelimitedCodec,
}

impl LinkCodec {
    fn new() -> Self {
        let frames = LengthDelimitedCodec::builder()
            .length_field_offset(4)
            .length_field_length(4)
            // The length counts the head, and the head is kept.
            .num_skip(0)
            .max_frame_length(FRAME_BYTES_MAX)
            .new_codec();
        Self { frames }
    }
}

impl Decoder for LinkCodec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Frame>> {
        match self.frames.decode(src)? {
            None => Ok(None),
            Some(frame) => parse(frame.freeze()).map(Some),
        }
    }
}

fn parse(mut rest: Bytes) -> io::Result<Frame> {
    if rest.len() < HEADER_BYTES || rest.get_u32() != MAGIC {
        return Err(malformed());
    }
    rest.advance(12);
    let (kind, priority, attachments) = (rest.get_u8(), rest.get_u8(), rest.get_u32());
    let mut id = None;
    for _ in 0..attachments {
        let is_id = take(&mut rest)? == REQUEST_ID;
        let mut value = take(&mut rest)?;
        if is_id {
            id = Some(value.try_get_u64().map_err(|_| malformed())?);
        }
    }
    Ok(Frame {
        kind,
        priority,
        id,
        body: rest,
    })
}

/// Takes bytes that have their length before them.
fn take(rest: &mut Bytes) -> io::Result<Bytes> {
    let length = rest.try_get_u32().map_err(|_| malformed())? as usize;
    if length > rest.len() {
        return Err(malformed());
    }
    Ok(rest.split_to(length))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed frame")
}

impl Encoder<Frame> for LinkCodec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> io::Result<()> {
        let attachment_bytes = if frame.id.is_some() { 19 } else { 0 };
        let bytes = HEADER_BYTES + attachment_bytes + frame.body.len();
        dst.reserve(bytes);
        dst.put_u32(MAGIC);
        dst.put_u32(u32::try_from(bytes).map_err(|_| malformed())?);
        dst.put_u64(0);
        dst.put_u8(frame.kind);
        dst.put_u8(frame.priority);
        dst.put_u32(u32::from(frame.id.is_some()));
        if let Some(id) = frame.id {
            dst.put_u32(3);
            dst.put_slice(REQUEST_ID);
            dst.put_u32(8);
            dst.put_u64(id);
        }
        dst.put_slice(&frame.body);
        Ok(())
    }
}

type Link = Framed<TcpStream, LinkCodec>;

/// Serves one link; `batched` answers all frames that are at hand before one flush.
pub async fn serve(stream: TcpStream, buffer: usize, batched: bool) -> io::Result<()> {
    let mut link = Framed::with_capacity(stream, LinkCodec::new(), buffer);
    let login = timeout(LOGIN_TIMEOUT, link.next()).await?;
    if !login.is_some_and(|frame| frame.is_ok_and(|frame| frame.kind == LOGIN)) {
        return Err(malformed());
    }
    let accepted = Frame::new(LOGIN_ANSWER, Bytes::from_static(&[0]));
    link.send(accepted).await?;
    let mut beat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut missed, mut heard) = (0, 0);
    loop {
        tokio::select! {
            biased;
            frame = link.next() => {
                let Some(frame) = frame else { return Ok(()) };
                missed = 0;
                handle(&mut link, frame?, &mut heard).await?;
                while batched && let Some(Some(frame)) = link.next().now_or_never() {
                    handle(&mut link, frame?, &mut heard).await?;
                }
                SinkExt::<Frame>::flush(&mut link).await?;
            }
            _ = beat.tick() => {
                missed += 1;
                if missed > MISSED_MAX {
                    return Ok(());
                }
            }
        }
    }
}

/// Feeds the answer to a frame, where it has one; `heard` counts messages that want none.
async fn handle(link: &mut Link, frame: Frame, heard: &mut u64) -> io::Result<()> {
    match frame.kind {
        QUESTION if frame.body.is_empty() => {
            let count = std::mem::take(heard).to_be_bytes();
            link.feed(frame.answer(Bytes::copy_from_slice(&count)))
                .await
        }
        QUESTION => link.feed(frame.answer(frame.body.clone())).await,
        ONE_WAY => {
            *heard += 1;
            Ok(())
        }
        PING => link.feed(Frame::new(PONG, Bytes::new())).await,
        PONG => Ok(()),
        _ => Err(malformed()),
    }
}
