//! SIGINT and SIGTERM, as something to wait for.

use std::io;
use std::process::exit;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A signal's name.
pub(crate) type Signal = &'static str;

/// The first SIGINT or SIGTERM comes out of the channel; a second one ends the program at once.
///
/// Also where the program was started with SIGINT ignored, as shells do for what they run in the
/// background.
pub(crate) fn stop_signals() -> io::Result<Receiver<Signal>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = channel();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for (earlier, signal) in signals.forever().enumerate() {
                if earlier > 0 {
                    exit(1);
                }
                let name = if signal == SIGINT {
                    "SIGINT"
                } else {
                    "SIGTERM"
                };
                let _ = sender.send(name);
            }
        })?;
    Ok(receiver)
}
