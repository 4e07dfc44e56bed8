//! From a file to a socket without a copy, where the system can and may.

#[cfg(target_os = "linux")]
use std::io;

#[cfg(target_os = "linux")]
use super::socket::Stream;
#[cfg(target_os = "linux")]
use crate::file_region::FileRegion;

/// Bit of SIGPIPE in the masks that `/proc` shows: signal 13, counted from 1.
#[cfg(target_os = "linux")]
const SIGPIPE_BIT: u64 = 1 << 12;

/// Whether `sendfile` is there and harmless.
///
/// It knows no `MSG_NOSIGNAL`, so a peer that has gone raises SIGPIPE. Rust programs ignore that signal from
/// the start; a host program in another language may have it at its default, which kills.
#[cfg(target_os = "linux")]
pub(super) fn can_send_files() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & SIGPIPE_BIT != 0)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn can_send_files() -> bool {
    false
}

/// Lets the socket take at most `count` bytes from the file; `0` at the file's end.
#[cfg(target_os = "linux")]
pub(super) fn send_file(stream: &Stream, region: &FileRegion, count: usize) -> io::Result<usize> {
    let mut offset = region.offset();
    Ok(rustix::fs::sendfile(
        stream,
        region.file(),
        Some(&mut offset),
        count,
    )?)
}
