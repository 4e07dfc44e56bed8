//! A room on tokio's own broadcast channel: frames encoded once, a task a connection.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::select;
use tokio::sync::broadcast::{self, Sender};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

/// Messages that a slow member may be behind: far more than any burst.
const BEHIND_MAX: usize = 1024;

/// A room without members.
pub fn room() -> Sender<Bytes> {
    broadcast::channel(BEHIND_MAX).0
}

/// Joins with the first frame, which comes back; tells everybody the others. When `batched`, all messages
/// that are there leave in one write.
pub async fn member(
    mut stream: TcpStream,
    buffer: usize,
    room: Sender<Bytes>,
    batched: bool,
) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut frames = FramedRead::with_capacity(read, LengthDelimitedCodec::new(), buffer);
    let Some(first) = frames.next().await else {
        return Ok(());
    };
    let mut heard = room.subscribe();
    write.write_all(&framed(&first?)).await?;
    let mut gathered = BytesMut::new();
    loop {
        select! {
            frame = frames.next() => {
                let Some(frame) = frame else { return Ok(()) };
                room.send(framed(&frame?)).map_err(io::Error::other)?;
            }
            message = heard.recv() => {
                let message = message.map_err(io::Error::other)?;
                if !batched || heard.is_empty() {
                    write.write_all(&message).await?;
                    continue;
                }
                gathered.extend_from_slice(&message);
                while let Ok(message) = heard.try_recv() {
                    gathered.extend_from_slice(&message);
                }
                write.write_all(&gathered).await?;
                gathered.clear();
            }
        }
    }
}

/// The bytes of a frame, made once for all who hear it.
fn framed(body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(4 + body.len());
    bytes.put_u32(body.len() as u32);
    bytes.put_slice(body);
    bytes.freeze()
}
