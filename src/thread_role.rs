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

/// Calls `f` as if on an I/O thread, or on another one: a simulated world plays all of them on one.
pub(crate) fn play<R>(io: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            IS_IO_THREAD.set(self.0);
        }
    }
    let _restore = Restore(IS_IO_THREAD.replace(io));
    f()
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
