//! What is typed, done; what comes, shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use chat::client::{ChatClient, FileNotebook, News, NoNotebook, Screen, Settings};
use chat::office::Command;
use chat::wall_clock;
use netwheel::{ClientState, Clock, Reactor};

use crate::Flags;
use crate::console::{Console, Hides};
use crate::line::{COMMANDS, Line, read};
use crate::support::Outcome;
use crate::text;

/// How long the next line waits for a login or a logout.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the menu waits for.
#[derive(PartialEq)]
enum Asked {
    Nothing,
    /// `name:password`.
    Login,
    /// The password of that user.
    Password(String),
    /// `name:message`.
    Chat,
}

pub(crate) struct Session<'a> {
    reactor: &'a Reactor,
    flags: &'a Flags,
    console: Arc<Console>,
    client: Option<ChatClient>,
    /// Where a line without a slash goes.
    to: Option<String>,
    asked: Asked,
    /// Whether what is unsent outlives the program.
    remembers: bool,
    /// Hears when something may have been acknowledged.
    settled: (SyncSender<()>, Receiver<()>),
}

/// Shows news on the console.
struct Shown {
    console: Arc<Console>,
    uid: String,
    settled: SyncSender<()>,
}

impl Screen for Shown {
    fn show(&self, news: News) {
        if let News::Said { from, to, .. } = &news {
            self.console.know(from);
            self.console.know(to);
        }
        for line in text::lines(&news, &self.uid, self.console.colours) {
            self.console.say(&line);
        }
        // One that waits already will look anyway.
        let _ = self.settled.try_send(());
    }

    fn state(&self, state: &ClientState) {
        if let Some(line) = text::state(state) {
            self.console.say(&line);
        }
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(reactor: &'a Reactor, flags: &'a Flags, console: Arc<Console>) -> Self {
        Self {
            reactor,
            flags,
            console,
            client: None,
            to: None,
            asked: Asked::Nothing,
            remembers: false,
            settled: sync_channel(1),
        }
    }

    pub(crate) fn prompt(&self) -> &str {
        match self.asked {
            Asked::Nothing => "> ",
            Asked::Login => "name:password> ",
            Asked::Password(_) => "password> ",
            Asked::Chat => "name:message> ",
        }
    }

    /// What of the next line is not for everybody's eyes.
    pub(crate) fn hides(&self) -> Hides {
        match self.asked {
            Asked::Nothing | Asked::Chat => Hides::PasswordOfLogin,
            Asked::Login => Hides::BehindColon,
            Asked::Password(_) => Hides::All,
        }
    }

    /// Does what a line says; `false` when that is the end.
    pub(crate) fn take(&mut self, typed: &str) -> bool {
        if self.asked != Asked::Nothing {
            self.answer(typed);
            return true;
        }
        match typed {
            "1" => self.asked = Asked::Login,
            "2" => self.asked = Asked::Chat,
            "3" => self.log_out(),
            "4" => self.help(),
            _ => return self.obey(read(typed)),
        }
        true
    }

    /// What the menu has asked for; what is no answer is asked for again.
    fn answer(&mut self, typed: &str) {
        if let Asked::Password(name) = &self.asked {
            let name = name.clone();
            self.asked = Asked::Nothing;
            if !typed.is_empty() {
                self.log_in_or_say(&name, typed);
            }
            return;
        }
        let Some((name, rest)) = typed.split_once(':').filter(|(name, _)| !name.is_empty()) else {
            if typed.is_empty() {
                self.asked = Asked::Nothing;
            }
            return;
        };
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Login => self.log_in_or_say(name, rest),
            _ => self.say(name, rest),
        }
    }

    /// Logs in; why that cannot even be tried is no reason to end.
    fn log_in_or_say(&mut self, uid: &str, password: &str) {
        if let Err(fault) = self.log_in(uid, password) {
            self.console.say(&format!("* {fault}"));
        }
    }

    fn obey(&mut self, line: Line) -> bool {
        match line {
            Line::Nothing => {}
            Line::To(Some(to), words) => {
                if let Some(words) = words {
                    self.say(&to, &words);
                }
                self.console.know(&to);
                self.to = Some(to);
            }
            Line::To(None, words) => match (self.to.clone(), words) {
                (Some(to), Some(words)) => self.say(&to, &words),
                _ => self.console.say("* to whom? /to NAME or /join #ROOM first"),
            },
            Line::Ask(command) => self.ask(command),
            Line::LeaveThis => match self.to.take().filter(|to| to.starts_with('#')) {
                Some(room) => self.ask(Command::Leave { room }),
                None => self.console.say("* which room?"),
            },
            Line::LogIn(name, Some(password)) => self.log_in_or_say(&name, &password),
            Line::LogIn(name, None) => self.asked = Asked::Password(name),
            Line::LogOut => self.log_out(),
            Line::Help => self.help(),
            Line::Quit => return false,
            Line::Wrong(why) => self.console.say(&format!("* {why}")),
        }
        true
    }

    pub(crate) fn log_in(&mut self, uid: &str, password: &str) -> Outcome {
        self.client = None;
        let flags = self.flags;
        let mut settings = Settings::new(uid, password);
        settings.platform = flags.platform;
        settings.heartbeat = Duration::from_secs_f64(flags.heartbeat_secs);
        settings.reconnect = Duration::from_secs_f64(flags.reconnect_secs);
        let screen = Arc::new(Shown {
            console: Arc::clone(&self.console),
            uid: uid.to_owned(),
            settled: self.settled.0.clone(),
        });
        let (net, to) = (self.reactor.as_ref(), &*flags.connect);
        let path = self.cursor_file(uid)?;
        self.remembers = path.is_some();
        let client = match path {
            Some(path) => {
                let notebook = FileNotebook::open(&path).map_err(|error| {
                    let path = path.display();
                    format!("{path}: {error}; give --cursor-file another path")
                })?;
                ChatClient::start(net, to, settings, notebook, screen, wall_clock())
            }
            None => ChatClient::start(net, to, settings, NoNotebook, screen, wall_clock()),
        };
        self.client = Some(client?);
        self.wait(PATIENCE, ChatClient::is_logged_in);
        Ok(())
    }

    /// Where this user's memory is, of that server.
    fn cursor_file(&self, uid: &str) -> Outcome<Option<PathBuf>> {
        if let Some(path) = &self.flags.cursor_file {
            return Ok((path.as_os_str() != "none").then(|| path.clone()));
        }
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        let Some(folder) = state.or_else(home) else {
            return Ok(None);
        };
        let folder = folder.join("netwheel-chat");
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}; give --cursor-file a path", folder.display()))?;
        let odd = |char: char| !char.is_alphanumeric() && !"-_.@".contains(char);
        let name = format!("{uid}-{}@{}.json", self.flags.platform, self.flags.connect);
        Ok(Some(folder.join(name.replace(odd, "_"))))
    }

    fn say(&self, to: &str, words: &str) {
        let Some(client) = self.client.as_ref().filter(|client| !client.is_over()) else {
            self.console.say("* log in first: /login NAME PASSWORD");
            return;
        };
        if client.say(to, words).is_err() {
            self.console
                .say("* not sent: too much waits for the server already");
        } else if !client.is_logged_in() {
            self.console
                .say("* it will be sent when there is a connection");
        }
    }

    fn ask(&mut self, command: Command) {
        if let Command::Join { room, .. } = &command {
            self.console.know(room);
            self.to = Some(room.clone());
        }
        let asked = self
            .client
            .as_ref()
            .is_some_and(|client| client.ask(command).is_ok());
        if !asked {
            self.console.say("* you are not logged in at the moment");
        }
    }

    fn log_out(&self) {
        match &self.client {
            Some(client) => {
                self.wait(PATIENCE, |client| client.unsent() == 0);
                client.log_out();
                self.wait(PATIENCE, ChatClient::is_over);
            }
            None => self.console.say("* you are not logged in"),
        }
    }

    fn help(&self) {
        self.console.say(text::MENU);
        for (command, what) in COMMANDS {
            self.console.say(&format!("  {command} {what}"));
        }
    }

    /// Waits until everything that was said is acknowledged, but no longer than that.
    pub(crate) fn end(&self, time: Duration) -> Outcome {
        self.wait(time, |client| client.unsent() == 0);
        match self.client.as_ref().map_or(0, ChatClient::unsent) {
            0 => Ok(()),
            count => Err(format!(
                "{count} messages are not acknowledged; {}",
                match self.remembers {
                    true => "they are sent when you come back",
                    false => "they are lost, as --cursor-file is none",
                }
            )
            .into()),
        }
    }

    /// Waits until that is so of the client, or it comes back no more; but no longer than that.
    fn wait(&self, time: Duration, so: impl Fn(&ChatClient) -> bool) {
        /// The longest between two looks, should one of the news have been overlooked.
        const LOOK: Duration = Duration::from_millis(100);
        let Some(client) = &self.client else {
            return;
        };
        let clock = Clock::system();
        let start = clock.now();
        while !so(client) && !client.is_over() {
            let rest = time.saturating_sub(clock.now().since(start));
            if rest.is_zero() {
                return;
            }
            let _ = self.settled.1.recv_timeout(rest.min(LOOK));
        }
    }
}
