//! Lines that somebody types, or a program pipes in.

use std::io::{self, stdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
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

/// Lines of stdin, read by a thread of their own, so that a program may end while it waits for one.
pub(crate) struct Typing {
    lines: Receiver<String>,
    signals: Receiver<Signal>,
    ended: bool,
}

impl Typing {
    pub(crate) fn new() -> io::Result<Self> {
        let signals = stop_signals()?;
        let (sender, lines) = sync_channel(0);
        thread::Builder::new().name("stdin".into()).spawn(move || {
            let typed = stdin().lines().map_while(Result::ok);
            typed
                .take_while(|line| sender.send(line.clone()).is_ok())
                .for_each(drop);
        })?;
        Ok(Self {
            lines,
            signals,
            ended: false,
        })
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
