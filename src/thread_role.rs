//! Which threads must never wait.

use std::cell::Cell;

use crate::error::{Error, ErrorKind};

thread_local! {
    static IS_IO_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread as a worker or acceptor for the rest of its life.
pub(crate) fn become_io_thread() {
    IS_IO_THREAD.set(true);
}

/// An error on an I/O thread, where a blocking call would wait for what only that thread can do.
pub(crate) fn refuse_on_io_thread(what: &str) -> Result<(), Error> {
    if IS_IO_THREAD.get() {
        let text =
            format!("an I/O thread cannot {what}: it would wait for itself; use the callbacks");
        return Err(Error::new(ErrorKind::Misuse, text));
    }
    Ok(())
}
