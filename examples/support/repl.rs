//! Lines that a person types, with a line editor and a history, or that a program pipes in: a client's own stdin.

use std::io::{self, IsTerminal, stdin, stdout};
use std::sync::{Arc, Mutex};

use rustyline::history::MemHistory;
use rustyline::{Config, Editor, ExternalPrinter};

use super::say;
use super::stdin::Typing;

const PROMPT: &str = "> ";

/// What may be typed to end, as Ctrl-C and Ctrl-D do.
const QUIT: &str = "quit";

/// Lines that are typed, and where to print meanwhile.
///
/// On a terminal that is a line editor: arrows walk through what was typed before; Ctrl-C, Ctrl-D and `quit` end the
/// input. Otherwise it takes plain lines, and prints such.
pub(crate) fn start() -> io::Result<(Typing, Screen)> {
    if !(stdin().is_terminal() && stdout().is_terminal()) {
        return Ok((Typing::new()?, Screen::plain()));
    }
    let config = Config::builder().auto_add_history(true).build();
    let editor = Editor::<(), _>::with_history(config.clone(), MemHistory::with_config(&config));
    let mut editor = editor.map_err(io::Error::other)?;
    let printer = editor.create_external_printer().map_err(io::Error::other)?;
    let typing = Typing::fed_by(move |lines| {
        while let Ok(line) = editor.readline(PROMPT) {
            // Another prompt would hold the terminal while the program ends.
            if line.trim() == QUIT || lines.send(line).is_err() {
                return;
            }
        }
    })?;
    Ok((typing, Screen(Some(Arc::new(Mutex::new(printer))))))
}

/// Prints lines from any thread: above the line that is being typed, where somebody types.
#[derive(Clone)]
pub(crate) struct Screen(Option<Arc<Mutex<dyn ExternalPrinter + Send>>>);

impl Screen {
    /// Where nobody types.
    pub(crate) fn plain() -> Self {
        Self(None)
    }

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
