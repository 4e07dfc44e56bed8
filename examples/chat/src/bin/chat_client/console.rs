//! Lines typed and lines shown, so that neither garbles the other.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, stdin, stdout};
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Context, Editor, ExternalPrinter, Helper, Highlighter, Hinter, Validator};

use crate::line::COMMANDS;
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

/// Users and rooms that were heard of.
type Names = Arc<Mutex<BTreeSet<String>>>;

/// Where lines are typed.
pub(crate) enum Lines {
    Edited(Box<Editor<Words, DefaultHistory>>),
    Plain,
}

impl Console {
    /// A terminal with line editing, history and completion.
    pub(crate) fn edited() -> Outcome<(Arc<Self>, Lines)> {
        let names = Names::default();
        let mut editor = Editor::new()?;
        editor.set_helper(Some(Words(Arc::clone(&names))));
        let printer: Box<dyn ExternalPrinter + Send> = Box::new(editor.create_external_printer()?);
        let console = Self {
            printer: Some(Mutex::new(printer)),
            names,
            colours: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Ok((Arc::new(console), Lines::Edited(Box::new(editor))))
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
        if names.len() < NAMES_MAX {
            names.insert(name.to_owned());
        }
    }
}

impl Lines {
    /// The next line; none at the end, or after Ctrl-C.
    pub(crate) fn next(&mut self, prompt: &str) -> Option<String> {
        match self {
            Self::Edited(editor) => {
                let typed = editor.readline(prompt);
                let typed = match typed {
                    Ok(typed) => typed,
                    Err(ReadlineError::Eof | ReadlineError::Interrupted) => return None,
                    Err(_) => return None,
                };
                let _ = editor.add_history_entry(&typed);
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
#[derive(Helper, Highlighter, Hinter, Validator)]
pub(crate) struct Words(Names);

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
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
