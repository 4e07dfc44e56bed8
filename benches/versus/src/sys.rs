//! The system calls that std has no words for; the only `unsafe` of this crate.
#![allow(
    unsafe_code,
    reason = "raw epoll, affinity and CPU clocks; an unpublished bench crate"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Turns the `-1` of a system call into its error.
fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// An edge-triggered epoll instance whose tokens are indices.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// Makes one that returns at most `capacity` events a wait.
    pub fn new(capacity: usize) -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `fd` was just returned by the kernel, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; capacity];
        Ok(Self { fd, events })
    }

    /// Reports both directions of `source` as `token` from now on.
    pub fn add(&self, source: &impl AsFd, token: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET) as u32,
            u64: token as u64,
        };
        let source = source.as_fd().as_raw_fd();
        let fd = self.fd.as_raw_fd();
        // SAFETY: both descriptors are open, and `event` outlives the call.
        check(unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, source, &raw mut event) })?;
        Ok(())
    }

    /// Waits, and returns how many events there are; [`Epoll::token`] names them.
    pub fn wait(&mut self, timeout_ms: i32) -> io::Result<usize> {
        let capacity = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        let events = self.events.as_mut_ptr();
        // SAFETY: `events` has room for `capacity` entries, all initialised.
        match check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events, capacity, timeout_ms) })
        {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            result => result.map(|count| count as usize),
        }
    }

    /// The token of the `index`th event of the last wait.
    pub fn token(&self, index: usize) -> usize {
        self.events[index].u64 as usize
    }
}

/// Lets the calling thread, and what it spawns from now on, run on `cores` only.
pub fn pin_current_thread(cores: &[usize]) -> io::Result<()> {
    // SAFETY: an all-zero `cpu_set_t` is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores {
        // SAFETY: `CPU_SET` checks the index against the set's size.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: `set` outlives the call and its size is passed along.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })?;
    Ok(())
}

/// Raises the soft limit of open descriptors to the hard one, and returns it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

fn clock(id: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    check(unsafe { libc::clock_gettime(id, &raw mut time) })?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// CPU time of a process so far: the scheduler's exact sum over its threads, the ended ones included.
///
/// The same nanoseconds as the sum of `/proc/PID/task/*/schedstat`, but a thread that ended is not lost,
/// and one that is running is counted up to this instant.
pub fn process_cpu_time(pid: u32) -> io::Result<Duration> {
    let mut id: libc::clockid_t = 0;
    // SAFETY: `id` outlives the call.
    match unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut id) } {
        0 => clock(id),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// CPU time of the calling thread so far.
pub fn thread_cpu_time() -> io::Result<Duration> {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Sends `signal` to a process.
pub fn signal(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::kill(pid as libc::pid_t, signal) })?;
    Ok(())
}

/// Makes the child die with the thread that spawns it, so that a killed bench leaves no server behind.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: `prctl` is async-signal-safe and the closure touches no memory of the parent.
    unsafe {
        command.pre_exec(|| check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)).map(|_| ()))
    }
}

/// Lets `connect` choose the port, when the pair is known, instead of `bind`: 28,000 ports per source address.
pub fn bind_without_port(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let fd = socket.as_fd().as_raw_fd();
    let len = size_of_val(&on) as libc::socklen_t;
    // SAFETY: `on` outlives the call and its size is passed along.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            len,
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Stdio;

    use super::*;

    /// The CPU clock of a process and the sum of its threads' schedstat are the same time.
    #[test]
    fn process_clock_agrees_with_schedstat() {
        let work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; read wait";
        let mut child = Command::new("sh")
            .args(["-c", work])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut done = [0; 5];
        let mut stdout = child.stdout.take().expect("it was asked for");
        stdout.read_exact(&mut done).expect("the shell says done");
        let path = format!("/proc/{0}/task/{0}/schedstat", child.id());
        let text = std::fs::read_to_string(path).expect("a running child");
        let first = text.split_whitespace().next().expect("three numbers");
        let sum = Duration::from_nanos(first.parse().expect("a number"));
        let clock = process_cpu_time(child.id()).expect("a running child");
        drop(child.stdin.take());
        child.wait().expect("the shell ends with its input");
        // The schedstat of a running thread lacks the time since the last tick, 10 ms at most.
        assert!(
            clock >= sum && clock - sum < Duration::from_millis(12),
            "{clock:?} {sum:?}"
        );
        assert!(clock > Duration::from_millis(1));
    }
}
