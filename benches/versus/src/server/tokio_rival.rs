//! tokio, as its good users write it.

use std::future::Future;
use std::io;

use bytes::Bytes;
use futures_util::future::FutureExt;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::tokio_pool::{Blocking, Crossbeam, Offload};
use super::{Mode, ServeArgs, announce, identity, tokio_broadcast, tokio_link};

/// Work stealing runtime; frames sent one by one; business work on `spawn_blocking`.
pub fn multi_thread(args: &ServeArgs) -> io::Result<()> {
    run(Builder::new_multi_thread(), args, Style::Plain)
}

/// Single-threaded runtime, else as [`multi_thread`].
pub fn current_thread(args: &ServeArgs) -> io::Result<()> {
    run(Builder::new_current_thread(), args, Style::Plain)
}

/// As [`multi_thread`], with all frames that are ready fed before one flush.
pub fn batched_flush(args: &ServeArgs) -> io::Result<()> {
    run(Builder::new_multi_thread(), args, Style::Batched)
}

/// As [`multi_thread`], with business work on a crossbeam-fed pool and answers by oneshot.
pub fn crossbeam(args: &ServeArgs) -> io::Result<()> {
    run(Builder::new_multi_thread(), args, Style::Crossbeam)
}

#[derive(Debug, Clone, Copy)]
enum Style {
    Plain,
    Batched,
    Crossbeam,
}

fn run(mut builder: Builder, args: &ServeArgs, style: Style) -> io::Result<()> {
    if args.mode == Mode::Link {
        builder.enable_time();
    }
    let runtime = builder
        .worker_threads(args.workers)
        .max_blocking_threads(args.pool)
        .enable_io()
        .build()?;
    let args = args.clone();
    // Spawned: the task that `block_on` drives is off the workers, and accepting there costs a hop.
    runtime.block_on(async { tokio::spawn(listen(args, style)).await? })
}

async fn listen(args: ServeArgs, style: Style) -> io::Result<()> {
    if args.mode == Mode::Udp {
        return datagrams(args).await;
    }
    let listener = TcpListener::bind(args.listen).await?;
    announce(listener.local_addr()?)?;
    let buffer = args.buffer;
    match (args.mode, style) {
        (Mode::Raw | Mode::Udp, _) => accept(&listener, |stream| echo(stream, buffer)).await,
        (Mode::Tls, _) => {
            let tls = TlsAcceptor::from(identity::config()?);
            accept(&listener, |stream| sealed_echo(tls.clone(), stream, buffer)).await
        }
        (Mode::Framed, Style::Batched) => {
            accept(&listener, |stream| batched(frames(stream, buffer))).await
        }
        (Mode::Framed, _) => accept(&listener, |stream| plain(frames(stream, buffer))).await,
        (Mode::Broadcast, _) => {
            let room = tokio_broadcast::room();
            let batched = matches!(style, Style::Batched);
            accept(&listener, |stream| {
                tokio_broadcast::member(stream, buffer, room.clone(), batched)
            })
            .await
        }
        (Mode::Link, _) => {
            let batched = matches!(style, Style::Batched);
            accept(&listener, |stream| {
                tokio_link::serve(stream, buffer, batched)
            })
            .await
        }
        (Mode::Pool, Style::Crossbeam) => {
            let pool = Crossbeam::new(args.pool);
            accept(&listener, |stream| {
                pooled(frames(stream, buffer), pool.clone())
            })
            .await
        }
        (Mode::Pool, _) => {
            accept(&listener, |stream| pooled(frames(stream, buffer), Blocking)).await
        }
    }
}

async fn accept<F>(listener: &TcpListener, serve: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream));
    }
}

type Frames = Framed<TcpStream, LengthDelimitedCodec>;

fn frames(stream: TcpStream, buffer: usize) -> Frames {
    Framed::with_capacity(stream, LengthDelimitedCodec::new(), buffer)
}

async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

async fn datagrams(args: ServeArgs) -> io::Result<()> {
    let socket = UdpSocket::bind(args.listen).await?;
    announce(socket.local_addr()?)?;
    let mut buffer = vec![0; 65_536];
    loop {
        let (count, peer) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..count], peer).await?;
    }
}

async fn sealed_echo(tls: TlsAcceptor, stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut stream = tls.accept(stream).await?;
    let mut buffer = vec![0; buffer];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
        stream.flush().await?;
    }
}

/// What the documentation shows: a flush per frame.
async fn plain(mut frames: Frames) -> io::Result<()> {
    while let Some(frame) = frames.next().await {
        frames.send(frame?.freeze()).await?;
    }
    Ok(())
}

/// Feeds while frames are at hand, then flushes once.
async fn batched(mut frames: Frames) -> io::Result<()> {
    while let Some(frame) = frames.next().await {
        frames.feed(frame?.freeze()).await?;
        while let Some(Some(frame)) = frames.next().now_or_never() {
            frames.feed(frame?.freeze()).await?;
        }
        SinkExt::<Bytes>::flush(&mut frames).await?;
    }
    Ok(())
}

/// Up to 64 frames of a connection under way at once, answered in order, and one flush for all that are ready.
async fn pooled(frames: Frames, pool: impl Offload) -> io::Result<()> {
    let (mut sink, stream) = frames.split();
    let mut answers = stream
        .map(|frame| {
            let frame = frame.map(|frame| pool.offload(frame.freeze()));
            async move { Ok::<Bytes, io::Error>(frame?.await) }
        })
        .buffered(64);
    sink.send_all(&mut answers).await
}
