//! Lines that a person types, with a line editor and a history, or that a program pipes in: a client's own stdin.

use std::io::{self, IsTerminal, stdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustyline::history::MemHistory;
use rustyline::{Config, Editor, ExternalPrinter};

use super::say;
use super::signals::{Signal, stop_signals};
use super::stdin::Typed;

/// How often a client looks whether it is to end.
const PAUSE: Duration = Duration::from_millis(50);

const PROMPT: &str = "> ";

/// Prints lines from any thread: above the line that is being typed, where somebody types.
#[derive(Clone)]
pub(crate) struct Screen(Option<Arc<Mutex<dyn ExternalPrinter + Send>>>);

impl Screen {
    /// Whether somebody types, who means the end when the input ends.
    pub(crate) fn is_typed_at(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        let Some(printer) = &self.0 else {
            return say(text);
        };
        if let Ok(mut printer) = printer.lock() {
            let _ = printer.print(format!("{text}\n"));
        }
    }
}

/// Lines of stdin, read by a thread of their own, so that a program may end while it waits for one.
pub(crate) struct Repl {
    lines: Receiver<String>,
    signals: Receiver<Signal>,
    ended: bool,
}

impl Repl {
    /// Begins to read, and says where to print meanwhile.
    pub(crate) fn new() -> io::Result<(Self, Screen)> {
        let signals = stop_signals()?;
        let (sender, lines) = sync_channel(0);
        let screen = if stdin().is_terminal() && io::stdout().is_terminal() {
            edit(sender)?
        } else {
            let pipe = move || {
                let typed = stdin().lines().map_while(Result::ok);
                typed
                    .take_while(|line| sender.send(line.clone()).is_ok())
                    .for_each(drop);
            };
            thread::Builder::new().name("stdin".into()).spawn(pipe)?;
            Screen(None)
        };
        let ended = false;
        Ok((
            Self {
                lines,
                signals,
                ended,
            },
            screen,
        ))
    }

    pub(crate) fn next(&mut self) -> Typed {
        if self.ended {
            return self
                .signals
                .recv_timeout(PAUSE)
                .map_or(Typed::Pause, Typed::Stop);
        }
        if let Ok(signal) = self.signals.try_recv() {
            return Typed::Stop(signal);
        }
        match self.lines.recv_timeout(PAUSE) {
            Ok(line) => Typed::Line(line),
            Err(RecvTimeoutError::Timeout) => Typed::Pause,
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                Typed::End
            }
        }
    }
}

/// Starts the line editor; arrows walk through what was typed before, Ctrl-C and Ctrl-D end the input.
fn edit(sender: SyncSender<String>) -> io::Result<Screen> {
    let config = Config::builder().auto_add_history(true).build();
    let editor = Editor::<(), _>::with_history(config.clone(), MemHistory::with_config(&config));
    let mut editor = editor.map_err(io::Error::other)?;
    let printer = editor.create_external_printer().map_err(io::Error::other)?;
    let type_lines = move || {
        while let Ok(line) = editor.readline(PROMPT) {
            if sender.send(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("stdin".into())
        .spawn(type_lines)?;
    Ok(Screen(Some(Arc::new(Mutex::new(printer)))))
}
