//! Typed requests and responses: MessagePack, compressed, in frames with a length. A request carries a file,
//! which the server stores.
//!
//! ```sh
//! mkdir -p /tmp/inbox
//! cargo run --release --features gzip,msgpack --example typed_request -- --folder /tmp/inbox
//! cargo run --release --features gzip,msgpack --example typed_request -- --connect 127.0.0.1:7000 --file README.md
//! ```
//! The first run is the server; the second sends the file, prints the answer and ends. The type of the messages
//! stands in one place, `codec`, and both sides use it.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;
use netwheel::codec::{Codec, Framing, Gzip, LengthField, MessagePack};
use netwheel::{Client, Executor, Pipeline, Place, Reactor, Server};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use support::Outcome;

const EXAMPLES: &str = "\
Try it:
  mkdir -p /tmp/inbox
  cargo run --release --features gzip,msgpack --example typed_request -- --folder /tmp/inbox
and from another terminal:
  cargo run --release --features gzip,msgpack --example typed_request -- --connect 127.0.0.1:7000 --file README.md";

/// How long a client waits for its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Stores the files of requests, or sends one with --connect.
#[derive(Parser)]
#[command(name = "typed_request", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,

    /// Where files are stored; it must be there
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,

    /// Threads that store files
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pool: u16,

    /// The longest message, before compression
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    max: usize,

    /// Sends a request to this server instead
    #[arg(long, value_name = "ADDR:PORT", requires = "file")]
    connect: Option<Place>,

    /// The file to send
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Request {
    id: u64,
    name: String,
    message: String,
    #[serde(with = "serde_bytes")]
    attachment: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Response {
    id: u64,
    name: String,
    message: String,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| match (&flags.connect, &flags.file) {
        (Some(server), Some(file)) => ask(server, file, flags.max),
        _ => serve(&flags),
    })
}

/// What both sides speak; the server reads what the client writes.
fn codec<In, Out>(max: usize) -> impl Codec<In = In, Out = Out>
where
    In: DeserializeOwned + 'static,
    Out: Serialize + 'static,
{
    let messages = Gzip::new(MessagePack::<In, Out>::new()).inflated_bytes_max(max);
    LengthField::u32().frame_bytes_max(max).then(messages)
}

fn serve(flags: &Flags) -> Outcome {
    let (folder, max) = (flags.folder.clone(), flags.max);
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(format!("{folder} is no folder; give --folder one that is there").into());
    }
    // Storing a file may block, so it is done on a pool.
    let pool = Executor::new(flags.pool.into());
    let server = Server::new().pipeline(move |_peer| {
        let folder = folder.clone();
        let codec = codec::<Request, Response>(max);
        Pipeline::new(codec).handle_on(&pool, move |cx, request| cx.write(answer(&folder, request)))
    });
    support::serve(&flags.server, server, |_stats| {})
}

fn answer(folder: &Path, request: Request) -> Response {
    let bytes = request.attachment.len();
    let message = match store(folder, &request) {
        Ok(()) => format!("stored {bytes} bytes"),
        Err(error) => format!("not stored: {error}"),
    };
    Response {
        id: request.id,
        name: request.name,
        message,
    }
}

/// A stranger's name never leads out of the folder, and replaces nothing that is there.
fn store(folder: &Path, request: &Request) -> Outcome {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let name = &*request.name;
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(allowed) {
        return Err("a name has letters, digits, '-', '_' and '.', up to 100".into());
    }
    let mut file = fs::File::create_new(folder.join(name))?;
    std::io::Write::write_all(&mut file, &request.attachment)?;
    log::info!(
        "request {}: {name}: {}",
        request.id,
        request.message.escape_debug()
    );
    Ok(())
}

/// Sends one file and waits for the answer.
fn ask(server: &Place, file: &Path, max: usize) -> Outcome {
    let path = file.display();
    let name = file
        .file_name()
        .ok_or_else(|| format!("{path} is no file"))?;
    let request = Request {
        id: std::process::id().into(),
        name: name.to_string_lossy().into_owned(),
        message: format!("please keep {path}"),
        attachment: fs::read(file).map_err(|error| format!("cannot read {path}: {error}"))?,
    };
    let reactor = Reactor::builder().workers(1).start()?;
    let (answers, answered) = mpsc::channel();
    let client = Client::on(&reactor).pipeline(move || {
        let answers = answers.clone();
        let codec = codec::<Response, Request>(max);
        Pipeline::new(codec).handle(move |_, response| Ok(answers.send(response)?))
    });
    let connection = client.connect(server)?;
    connection.wait_open(ANSWER_TIMEOUT)?;
    connection.try_send(request)?;
    let response =
        answered
            .recv_timeout(ANSWER_TIMEOUT)
            .map_err(|_| match connection.closed() {
                Some(reason) => format!("{server} closed without an answer: {reason}"),
                None => format!("{server} does not answer"),
            })?;
    support::say(format_args!("{}: {}", response.name, response.message));
    Ok(())
}
