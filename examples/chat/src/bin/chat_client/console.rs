//! Lines typed and lines shown, so that neither garbles the other.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{BufRead, stdin};
use std::sync::{Arc, Mutex, PoisonError};

use chat::users::is_name;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::history::DefaultHistory;
use rustyline::{
    ColorMode, CompletionType, Config, Context, Editor, ExternalPrinter, Helper, Hinter, Validator,
};

use crate::line::{COMMANDS, secret};
use crate::support::{Outcome, say};

/// Names that are completed; those seen first stay.
const NAMES_MAX: usize = 1000;

/// Where lines are shown. Threads: any.
pub(crate) struct Console {
    /// Shows a line above the one that is being typed; none where nobody edits.
    printer: Option<Mutex<Box<dyn ExternalPrinter + Send>>>,
    names: Names,
    pub(crate) colours: bool,
}

/// What of a typed line is neither shown nor remembered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Hides {
    All,
    /// What follows the first colon.
    BehindColon,
    /// The password of a `/login`.
    PasswordOfLogin,
}

impl Hides {
    /// Where that begins in a line.
    fn from(self, line: &str) -> Option<usize> {
        match self {
            Self::All => Some(0),
            Self::BehindColon => line.find(':').map(|colon| colon + 1),
            Self::PasswordOfLogin => secret(line),
        }
    }
}

/// Users and rooms that were heard of.
type Names = Arc<Mutex<BTreeSet<String>>>;

/// Where lines are typed.
pub(crate) enum Lines {
    Edited {
        editor: Box<Editor<Words, DefaultHistory>>,
        console: Arc<Console>,
    },
    Plain,
}

impl Console {
    /// A terminal with line editing, history and completion.
    pub(crate) fn edited() -> Outcome<(Arc<Self>, Lines)> {
        let names = Names::default();
        // What hides a password is no colour, though it is called so.
        let config = Config::builder()
            .color_mode(ColorMode::Forced)
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Words {
            names: Arc::clone(&names),
            hides: Hides::PasswordOfLogin,
        }));
        let printer: Box<dyn ExternalPrinter + Send> = Box::new(editor.create_external_printer()?);
        let console = Self {
            printer: Some(Mutex::new(printer)),
            names,
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let console = Arc::new(console);
        let lines = Lines::Edited {
            editor: Box::new(editor),
            console: Arc::clone(&console),
        };
        Ok((console, lines))
    }

    /// Plain lines from stdin and to stdout.
    pub(crate) fn plain() -> (Arc<Self>, Lines) {
        let console = Self {
            printer: None,
            names: Names::default(),
            colours: false,
        };
        (Arc::new(console), Lines::Plain)
    }

    /// Shows a line.
    pub(crate) fn say(&self, line: &str) {
        match &self.printer {
            Some(printer) => {
                let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
                // A terminal that is gone shows nothing.
                let _ = printer.print(format!("{line}\n"));
            }
            None => say(line),
        }
    }

    /// A name to complete.
    pub(crate) fn know(&self, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // Whatever a server says: what is completed goes to the terminal.
        let is_sound = is_name(name.strip_prefix('#').unwrap_or(name));
        if is_sound && names.len() < NAMES_MAX {
            names.insert(name.to_owned());
        }
    }
}

impl Lines {
    /// The next line; none at the end, or after Ctrl-C twice: once drops what was typed.
    pub(crate) fn next(&mut self, prompt: &str, hides: Hides) -> Option<String> {
        match self {
            Self::Edited { editor, console } => {
                editor.helper_mut()?.hides = hides;
                let typed = editor.readline(prompt).or_else(|fault| match fault {
                    ReadlineError::Interrupted => {
                        console.say("* Ctrl-C once more ends the chat");
                        editor.readline(prompt)
                    }
                    fault => Err(fault),
                });
                let typed = typed.ok()?;
                if hides.from(&typed).is_none() {
                    let _ = editor.add_history_entry(&typed);
                }
                Some(typed)
            }
            Self::Plain => {
                let mut typed = String::new();
                let count = stdin().lock().read_line(&mut typed).ok()?;
                (count > 0).then_some(typed)
            }
        }
    }
}

/// Completes commands, users and rooms.
#[derive(Helper, Hinter, Validator)]
pub(crate) struct Words {
    names: Names,
    hides: Hides,
}

impl Highlighter for Words {
    fn highlight<'l>(&self, line: &'l str, _at: usize) -> Cow<'l, str> {
        match self.hides.from(line) {
            None => Cow::Borrowed(line),
            Some(from) => {
                let stars = "*".repeat(line[from..].chars().count());
                Cow::Owned(format!("{}{stars}", &line[..from]))
            }
        }
    }

    fn highlight_char(&self, line: &str, _at: usize, _kind: CmdKind) -> bool {
        self.hides.from(line).is_some()
    }
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..at];
        let start = typed.rfind(' ').map_or(0, |space| space + 1);
        let word = &typed[start..];
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let names = names.iter().map(String::as_str);
        let commands = COMMANDS.iter().map(|command| command.0);
        let known: Vec<&str> = match start {
            0 => commands.collect(),
            _ => names.collect(),
        };
        let fitting = known.into_iter().filter(|known| known.starts_with(word));
        let pair = |known: &str| Pair {
            display: known.to_owned(),
            replacement: format!("{known} "),
        };
        Ok((start, fitting.map(pair).collect()))
    }
}
