//! What an accept has failed with, and what is to be done about it.

use std::io;

/// The kinds of failure that ask for different deeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptError {
    /// Nobody waits.
    Nobody,
    /// A signal came between; the next try may well succeed.
    Interrupted,
    /// The connection that it would have taken is gone; the next may well be there.
    OfOneConnection,
    /// No descriptor is left, in the process or in the system.
    NoDescriptor,
    /// No memory, or something that nobody expects: more tries at once would not cure it.
    OfTheSystem,
}

impl AcceptError {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::Nobody,
            io::ErrorKind::Interrupted => Self::Interrupted,
            // It was reset in the queue, or, on Linux, an error of its network was already pending
            // (accept(2)), or a firewall forbids it.
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut
            | io::ErrorKind::PermissionDenied => Self::OfOneConnection,
            _ => Self::of_number(error.raw_os_error()),
        }
    }

    /// Those for which the standard library has no name.
    #[cfg(target_os = "linux")]
    fn of_number(number: Option<i32>) -> Self {
        use rustix::io::Errno;

        match number.map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => Self::NoDescriptor,
            Some(
                Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::OPNOTSUPP,
            ) => Self::OfOneConnection,
            _ => Self::OfTheSystem,
        }
    }

    /// EMFILE and ENFILE have these numbers on every Unix.
    #[cfg(not(target_os = "linux"))]
    fn of_number(number: Option<i32>) -> Self {
        match number {
            Some(23 | 24) if cfg!(unix) => Self::NoDescriptor,
            _ => Self::OfTheSystem,
        }
    }

    /// What whoever runs the program may do about it.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::NoDescriptor => {
                "; raise the limit (`ulimit -n`; of the whole system, fs.file-max), or lower connections_max below it"
            }
            Self::OfTheSystem => "; the listener rests and tries again",
            Self::Nobody | Self::Interrupted | Self::OfOneConnection => "",
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn each_error_of_accept_has_its_kind() {
        let kinds = [
            (AcceptError::Nobody, vec![Errno::AGAIN]),
            (AcceptError::Interrupted, vec![Errno::INTR]),
            (AcceptError::NoDescriptor, vec![Errno::MFILE, Errno::NFILE]),
            (
                AcceptError::OfTheSystem,
                vec![Errno::NOBUFS, Errno::NOMEM, Errno::BADF, Errno::INVAL],
            ),
            (
                AcceptError::OfOneConnection,
                vec![
                    Errno::CONNABORTED,
                    Errno::CONNRESET,
                    Errno::PROTO,
                    Errno::PERM,
                    Errno::NETDOWN,
                    Errno::NOPROTOOPT,
                    Errno::HOSTDOWN,
                    Errno::NONET,
                    Errno::HOSTUNREACH,
                    Errno::OPNOTSUPP,
                    Errno::NETUNREACH,
                    Errno::TIMEDOUT,
                ],
            ),
        ];
        for (kind, errors) in kinds {
            for error in errors {
                assert_eq!(AcceptError::of(&error.into()), kind, "{error}");
            }
        }
    }
}
