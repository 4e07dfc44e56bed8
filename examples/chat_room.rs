//! A chat room of lines, for `nc`: a group, and names that only one may have at a time.
//!
//! ```sh
//! cargo run --release --example chat_room -- --listen 127.0.0.1:7000
//! nc 127.0.0.1 7000
//! ```
//! The first line is a name, each further one goes to everybody else; `/who` lists who is there, `/quit`
//! leaves. Who reads too slowly misses lines, and delays nobody.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use netwheel::codec::{Framed, Lines, Utf8};
use netwheel::{
    CloseReason, Context, Framing, Group, Handler, Pipeline, Result, Server, Session, Sessions,
};

const EXAMPLES: &str = "\
Try it, from two terminals:
  cargo run --release --example chat_room -- --listen 127.0.0.1:7000
  nc 127.0.0.1 7000                                  (a name, then lines; /who, /quit)";

/// A name is shown with every line, so it is short.
const NAME_CHARS_MAX: usize = 20;

/// Tells everybody what one says.
#[derive(Parser)]
#[command(name = "chat_room", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,

    /// The longest line, in bytes; who sends a longer one is closed, with the reason `over_limit`
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    max: usize,

    /// Time to say a name in, before a newcomer is closed
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    name_secs: u64,
}

type Cx<'a> = Context<'a, String, String>;

/// What all connections share.
#[derive(Clone)]
struct Room {
    everybody: Group<String>,
    names: Sessions<String, String>,
    name_time: Duration,
}

/// One who may have said a name.
struct Guest {
    room: Room,
    /// Logs out when the connection ends.
    session: Option<Session<String, String>>,
}

impl Handler<String, String> for Guest {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        cx.deadline(self.room.name_time, CloseReason::HandshakeTimeout);
        cx.write("* your name?".to_owned())
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, line: String) -> Result<()> {
        let line: String = line.chars().filter(|char| !char.is_control()).collect();
        let Some(session) = &self.session else {
            return self.come_in(cx, line.trim());
        };
        match line.trim() {
            "" => Ok(()),
            "/who" => cx.write(self.room.who()),
            "/quit" => {
                cx.write("* goodbye".to_owned())?;
                cx.close_after_flush(CloseReason::Local);
                Ok(())
            }
            text => {
                let line = format!("{}: {text}", session.user());
                Ok(self.room.everybody.broadcast_except(cx.id(), line)?)
            }
        }
    }

    fn on_close(&mut self, cx: &mut Cx<'_>, _reason: CloseReason) {
        if let Some(session) = self.session.take() {
            let gone = format!("* {} has left", session.user());
            // A room that is too busy to hear of it will not miss it.
            let _ = self.room.everybody.broadcast_except(cx.id(), gone);
        }
    }
}

impl Guest {
    fn come_in(&mut self, cx: &mut Cx<'_>, name: &str) -> Result<()> {
        if name.is_empty() || name.starts_with('/') || name.chars().count() > NAME_CHARS_MAX {
            return cx.write(format!(
                "* 1 to {NAME_CHARS_MAX} characters, no slash first"
            ));
        }
        let Ok(session) = self.room.names.login(name.to_owned(), &cx.handle()) else {
            return cx.write(format!("* {name} is here already; another name?"));
        };
        cx.cancel_deadline(CloseReason::HandshakeTimeout);
        self.session = Some(session);
        cx.write(self.room.who())?;
        self.room
            .everybody
            .broadcast(format!("* {name} has come"))?;
        Ok(self.room.everybody.join(&cx.handle())?)
    }
}

impl Room {
    fn new(name_time: Duration) -> Self {
        Self {
            everybody: Group::new(lines(usize::MAX)),
            names: Sessions::new(),
            name_time,
        }
    }

    fn who(&self) -> String {
        let mut names = self.names.users();
        names.sort_unstable();
        format!("* here: {}", names.join(", "))
    }
}

fn lines(max: usize) -> Framed<Lines, Utf8> {
    Lines::new().frame_bytes_max(max).then(Utf8::new())
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    let (max, room) = (flags.max, Room::new(Duration::from_secs(flags.name_secs)));
    support::run(|| {
        let server = Server::new().pipeline(move |_peer| {
            Pipeline::new(lines(max)).handler(Guest {
                room: room.clone(),
                session: None,
            })
        });
        support::serve(&flags.server, server, |_stats| {})
    })
}
