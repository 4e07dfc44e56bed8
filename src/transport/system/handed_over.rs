//! Listeners that somebody else has opened: systemd, a parent process, or the program itself.
//!
//! The protocol is systemd's (sd_listen_fds(3)): `LISTEN_FDS` says how many descriptors there are, from 3 on, and
//! `LISTEN_PID` for which process. A parent that does not know its child's number leaves that out.

#![expect(
    unsafe_code,
    reason = "a descriptor that comes as a number has to be believed once"
)]

use std::env;
use std::fs;
use std::ops::Range;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Socket, Type};

use super::socket::Bound;
use crate::address::Place;
use crate::error::{Error, ErrorKind};
use crate::options::Options;

/// The first descriptor behind the three standard ones.
const FIRST: RawFd = 3;
/// More are hardly handed over, and a count that makes no sense is not believed.
const COUNT_MAX: u16 = 1024;

/// Whether the descriptors have been taken: each belongs to one owner.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The descriptors that were handed over to this process, once.
pub(crate) fn take() -> Result<Vec<OwnedFd>, Error> {
    let variable = |name| env::var(name).ok();
    let range = announced(variable("LISTEN_FDS"), variable("LISTEN_PID"))?;
    for fd in range.clone() {
        check_is_socket(fd)?;
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        let text =
            "the listeners that were handed over are taken; call listen_fds once in a process";
        return Err(Error::new(ErrorKind::Misuse, text));
    }
    // SAFETY: whoever started the process says by its environment that these descriptors are open and ours, they were
    // found to be sockets, and `TAKEN` sees to it that each is made an owner of once.
    Ok(range
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect())
}

/// What the environment announces.
fn announced(count: Option<String>, pid: Option<String>) -> Result<Range<RawFd>, Error> {
    let none = |what: &str| {
        let text = format!(
            "{what}; start it by a systemd socket unit, or call listen instead of listen_fds"
        );
        Err(Error::new(ErrorKind::Config, text))
    };
    let Some(count) = count else {
        return none("no listener was handed over: LISTEN_FDS is not set");
    };
    if pid.is_some_and(|pid| pid.trim() != process::id().to_string()) {
        return none("the listeners were handed over to another process: LISTEN_PID is not ours");
    }
    match count.trim().parse::<u16>() {
        Ok(count @ 1..=COUNT_MAX) => Ok(FIRST..FIRST + RawFd::from(count)),
        _ => none(&format!(
            "LISTEN_FDS is {:?}, which is no number from 1 to {COUNT_MAX}",
            count.escape_debug().to_string()
        )),
    }
}

/// Refuses what is no socket, where the system tells: it may be anybody's.
fn check_is_socket(fd: RawFd) -> Result<(), Error> {
    if cfg!(not(target_os = "linux")) {
        return Ok(());
    }
    let link = fs::read_link(format!("/proc/self/fd/{fd}"));
    if link.is_ok_and(|link| link.to_string_lossy().starts_with("socket:")) {
        return Ok(());
    }
    let text = format!("LISTEN_FDS announces descriptor {fd}, which is no open socket");
    Err(Error::new(ErrorKind::Config, text))
}

/// Makes a listener of the crate's of a socket that listens.
pub(crate) fn adopt(fd: OwnedFd, options: &Options) -> Result<Bound, Error> {
    let socket = Socket::from(fd);
    let refused = |error| Error::io("cannot listen on the socket that was handed over", error);
    if socket.r#type().map_err(refused)? != Type::STREAM || !listens(&socket) {
        let text = "the socket that was handed over does not listen; call listen(2) before, on a stream socket";
        return Err(Error::new(ErrorKind::Config, text));
    }
    socket.set_nonblocking(true).map_err(refused)?;
    socket.set_cloexec(true).map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    let place = match address.as_socket() {
        Some(address) => Place::Inet(address),
        None => Place::Unix(
            address
                .as_pathname()
                .unwrap_or_else(|| "(unnamed)".as_ref())
                .into(),
        ),
    };
    Bound::adopted(socket, place, options).map_err(refused)
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn listens(socket: &Socket) -> bool {
    socket.is_listener().unwrap_or(false)
}

/// Elsewhere the first accept tells.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn listens(_: &Socket) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(count: Option<&str>, pid: Option<&str>) -> Result<Range<RawFd>, Error> {
        announced(count.map(str::to_owned), pid.map(str::to_owned))
    }

    #[test]
    fn the_environment_is_believed_when_it_speaks_to_this_process() {
        let own = process::id().to_string();
        assert_eq!(says(Some("2"), Some(&own)).expect("ours"), 3..5);
        assert_eq!(says(Some("1"), None).expect("a parent's"), 3..4);
        for (count, pid) in [
            (None, Some(own.as_str())),
            (Some("2"), Some("1")),
            (Some("0"), Some(&own)),
            (Some("-1"), Some(&own)),
            (Some("70000"), Some(&own)),
            (Some("two"), Some(&own)),
        ] {
            let error = says(count, pid).expect_err("not for us");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("call listen "), "{error}");
        }
    }
}
