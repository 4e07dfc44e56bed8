//! Lines that somebody types, or a program pipes in.

use std::io::{self, stdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::signals::{Signal, stop_signals};

/// How often a client looks whether it is to end.
const PAUSE: Duration = Duration::from_millis(50);

/// What a client that is typed at has to do next.
pub(crate) enum Typed {
    Line(String),
    /// Nothing yet: a moment to look around.
    Pause,
    /// The input has ended, though the program may go on.
    End,
    /// SIGINT or SIGTERM.
    Stop(Signal),
}

/// Lines, read by a thread of their own, so that a program may end while it waits for one.
pub(crate) struct Typing {
    /// Until the first line is asked for.
    begin: Option<SyncSender<()>>,
    lines: Receiver<String>,
    signals: Receiver<Signal>,
    ended: bool,
}

impl Typing {
    /// Lines of stdin as they are.
    pub(crate) fn new() -> io::Result<Self> {
        Self::fed_by(|lines| {
            let mut typed = stdin().lines().map_while(Result::ok);
            while typed.next().is_some_and(|line| lines.send(line).is_ok()) {}
        })
    }

    /// Lines that `source` sends, on its own thread; the input ends when it returns.
    ///
    /// It begins at the first [`next`](Self::next): a program that fails before has not touched the terminal.
    pub(crate) fn fed_by(
        source: impl FnOnce(SyncSender<String>) + Send + 'static,
    ) -> io::Result<Self> {
        let signals = stop_signals()?;
        let (sender, lines) = sync_channel(0);
        let (begin, begun) = sync_channel(0);
        let read = move || {
            if begun.recv().is_ok() {
                source(sender);
            }
        };
        thread::Builder::new().name("stdin".into()).spawn(read)?;
        Ok(Self {
            begin: Some(begin),
            lines,
            signals,
            ended: false,
        })
    }

    pub(crate) fn next(&mut self) -> Typed {
        if let Some(begin) = self.begin.take() {
            let _ = begin.send(());
        }
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
