//! Every limit: a constant with its unit and its reason, and the structs that change it.
//!
//! No queue, buffer, count or wait of the crate is without a bound. The constants are the defaults;
//! [`ConnectionLimits`] changes what holds for each connection of a server or client, [`DatagramLimits`] what
//! holds for each UDP socket, [`WorkerLimits`] what holds for each worker of a reactor. The table of limits in
//! `ARCHITECTURE.md` says for each of them who holds it, or which part that is still to be built, and what a
//! peer sees when it is hit.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

#[cfg(test)]
mod finite;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Events taken from one poll: an epoll batch; more makes turns long.
pub const EVENTS_PER_POLL: usize = 1024;
/// Bytes one read asks for, from the buffer that the connections of a worker share: one read per busy
/// connection, nothing held per idle one.
pub const READ_BUFFER_BYTES: usize = 64 * KIB;
/// Reads of one connection in one turn, for fairness; what is left waits for the next turn (Netty: 16).
pub const READS_PER_TURN: usize = 16;
/// Bytes read from one connection in one turn, for fairness.
pub const READ_BYTES_PER_TURN: usize = 256 * KIB;
/// Bytes written to one connection in one turn, for fairness.
pub const WRITE_BYTES_PER_TURN: usize = 256 * KIB;
/// Mailbox commands handled in one turn: a turn stays short.
pub const MAILBOX_COMMANDS_PER_TURN: usize = 1024;
/// Timers fired in one turn: a turn stays short.
pub const TIMERS_PER_TURN: usize = 1024;
/// Messages from other threads that wait in one worker, over all its connections. Closing, new sockets
/// and results of the pool are not counted and never refused: each of them is bounded by itself.
pub const MAILBOX_MESSAGES_MAX: usize = 65_536;
/// Bytes of broadcasts to groups that wait for one worker: enough for a burst of thousands of messages, which
/// wait once a worker and not once a member.
pub const BROADCAST_BYTES_MAX: usize = 8 * MIB;
/// Bytes of broadcasts that a worker takes up in one turn: what a member that keeps up always has room for,
/// and a turn stays short.
pub const BROADCAST_BYTES_PER_TURN: usize = 64 * KIB;
/// Bytes that the connections of one worker hold together: what has arrived and is not a whole message yet, what
/// waits to leave, what handles have sent. Five hundred connections at their own bound; a shared message counts for
/// each of them. From three quarters of it on nobody new is let in and the largest are not read; above it the
/// largest are closed.
pub const WORKER_BYTES_MAX: usize = 512 * MIB;
/// Output above which a connection is not writable and, unless told otherwise, is not read (Netty).
pub const HIGH_WATER_BYTES: usize = 64 * KIB;
/// Output below which a connection is writable again (Netty: 32 KiB).
pub const LOW_WATER_BYTES: usize = 32 * KIB;
/// Output of one connection at which messages are given back: one slow reader cannot grow. Up to the high
/// water mark a message of any size is taken, so that a writable connection never refuses one.
pub const OUTPUT_BYTES_MAX: usize = MIB;
/// Files that wait to be sent on one connection, one behind the other: each holds a descriptor.
pub const FILES_WAITING_MAX: usize = 16;
/// Messages that wait in the executor lane of one connection before it is not read any more.
pub const LANE_MESSAGES_MAX: usize = 64;
/// Messages and jobs that wait in one executor, over all its lanes.
pub const EXECUTOR_MESSAGES_MAX: usize = 1024;
/// Connections accepted from one listener before the next is looked at.
pub const ACCEPT_BATCH: usize = 64;
/// Connections the kernel keeps for a listener that has not accepted them yet; mio's own bind has 128.
pub const BACKLOG: i32 = 1024;
/// Connections of one reactor; the descriptor limit less [`DESCRIPTORS_RESERVED`] where that is less (NATS).
pub const CONNECTIONS_MAX: usize = 65_536;
/// Descriptors left for everything that is not a connection: polls, listeners, logs, the program's own. Where there
/// are few, half of them.
pub const DESCRIPTORS_RESERVED: usize = 64;
/// Bytes of one frame's message, checked before memory grows: enough for any message that is not a file.
pub const FRAME_BYTES_MAX: usize = MIB;
/// Bytes of one datagram that a handler is given: more than UDP carries (65,507 over IPv4, 65,527 over IPv6), so
/// nothing is cut off. A worker's datagram sockets share one buffer of that size.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Datagrams received on one socket in one turn, and sent of what waited: fairness. With a send each they cost
/// about as much as the largest budget of a connection.
pub const DATAGRAMS_PER_TURN: usize = 64;
/// Bytes received on one datagram socket in one turn, for fairness.
pub const DATAGRAM_BYTES_PER_TURN: usize = 256 * KIB;
/// Datagrams that wait for one socket to have room; as many again may be on their way from other threads.
pub const DATAGRAM_QUEUE_MAX: usize = 1024;
/// Bytes of datagrams that wait for one socket to have room, and again of those from other threads. One of any
/// length passes an empty queue.
pub const DATAGRAM_QUEUE_BYTES_MAX: usize = MIB;
/// Time for an outgoing connect (Netty: 30 s, which no latency-sensitive caller waits).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for a handshake, so that silent newcomers hold nothing for long.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a frame that was begun, against peers that send a byte now and then.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// Time without progress while bytes wait for the peer (NATS).
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time in which a peer to whom more than the high water mark waits must take as much as may wait
/// ([`OUTPUT_BYTES_MAX`]), unless it catches up to the low one: whoever takes a byte now and then is stalled by
/// no other measure (Redis: 60 s above its soft bound).
pub const SLOW_READER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time that a connection which was closed after its last byte waits for the peer's FIN: a close with
/// unread bytes sends RST, which may destroy the last answer on its way (nginx's lingering close).
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes thrown away from a peer that goes on sending while its connection lingers.
pub const LINGER_BYTES_MAX: usize = MIB;
/// Time between heartbeats of a stack link (S1: T).
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Heartbeats missed before a stack link is lost (S1: N).
pub const HEARTBEATS_MISSED_MAX: u32 = 3;
/// Time before a client dials again (S1: INTERVAL).
pub const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);
/// Clients of one network that wait before they dial again, or for a name; one more ends at once.
pub const TASKS_MAX: usize = 65_536;
/// Names that wait to be looked up; a client whose name finds no room counts that as a failed try.
pub const LOOKUPS_MAX: usize = 1024;
/// Messages that wait for a client's next connection, where they are told to: as many as an executor's.
pub const DOWN_MESSAGES_MAX: usize = 1024;
/// Bytes of messages that wait for a client's next connection: as many as one that is up may hold.
pub const DOWN_BYTES_MAX: usize = MIB;
/// Items of a full batch: few enough for one frame, enough to share its cost.
pub const BATCH_ITEMS_MAX: usize = 100;
/// Time that an item of a batch waits for others: nobody notices, and a busy sender fills many batches in it.
pub const BATCH_DELAY_MAX: Duration = Duration::from_millis(20);
/// Items that wait in a batch, those of deliveries that came back included.
pub const BATCH_WAITING_MAX: usize = 10_000;
/// Messages kept for one peer until it acknowledges them (S1.11).
pub const OUTBOX_MESSAGES_MAX: usize = 1024;
/// Bytes kept for one peer until it acknowledges them (S1.11).
pub const OUTBOX_BYTES_MAX: usize = 8 * MIB;
/// Time that unacknowledged messages are kept (S1.11).
pub const OUTBOX_AGE_MAX: Duration = Duration::from_secs(5 * 60);
/// Bytes of messages in one spool file, over all its links: a disk is shared with others.
pub const SPOOL_BYTES_MAX: usize = 1024 * MIB;
/// Messages that wait for the disk of a spool file, besides those that are being written: one commit takes them all,
/// and a disk that does not keep up shows at once.
pub const SPOOL_WAITING_MAX: usize = 4096;
/// Bytes of messages that wait for the disk of a spool file; a larger one waits alone.
pub const SPOOL_WAITING_BYTES_MAX: usize = 8 * MIB;
/// Links in one spool file, and cursors: as many as the peers of a listener.
pub const SPOOL_NAMES_MAX: usize = PEERS_MAX;
/// Time that cursors and acknowledged messages wait for a message to be written with: an fsync of their own would
/// cost more than the repeats they spare.
pub const SPOOL_DELAY: Duration = Duration::from_millis(50);
/// Bytes of one frame of the stack, its header included (S1.1).
pub const STACK_FRAME_BYTES_MAX: usize = MIB;
/// Attachments of one frame of the stack: headers, not a data format.
pub const STACK_ATTACHMENTS_MAX: usize = 64;
/// Bytes of an attachment's key.
pub const STACK_KEY_BYTES_MAX: usize = 256;
/// Bytes of an attachment's value; what is longer belongs into the body.
pub const STACK_VALUE_BYTES_MAX: usize = 64 * KIB;
/// Time that an acknowledgement waits for a frame to ride on (S1.11): most of them find one.
pub const ACK_DELAY: Duration = Duration::from_millis(50);
/// Handled messages after which an acknowledgement goes at once: a fast sender's outbox must not fill up with what
/// has arrived.
pub const ACK_MESSAGES: u32 = 64;
/// Time for the answer to a call over a link, unless the caller says another.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls of one link that wait for their answers; one more comes back to its caller.
pub const CALLS_MAX: usize = 65_536;
/// Bytes of a node's name: a host name fits, and it fits into a line of the log.
pub const NODE_ID_BYTES_MAX: usize = 255;
/// Bytes of chance in the challenge of a login: as many as the hash that answers it has.
pub const CHALLENGE_BYTES: usize = 32;
/// Peers that a listener remembers, those included that are away: one more is not let in.
pub const PEERS_MAX: usize = 65_536;
/// The longest body of a Caviar message (S2.11).
pub const CAVIAR_BODY_BYTES_MAX: usize = MIB;
/// Time for a Caviar client's connect, and for the answer to each of its requests (S2.1).
pub const CAVIAR_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which a Caviar client that has lost its server dials again (S2.13).
pub const CAVIAR_RECONNECT_INTERVAL: Duration = Duration::from_secs(2);
/// Silence after which a Caviar client pings, and a heartbeat counts as missed (S2.14).
pub const CAVIAR_PING_INTERVAL: Duration = Duration::from_secs(5);
/// Heartbeats of a client in a row whose absence makes a Caviar server close: 10 s in all (S2.14).
pub const CAVIAR_PINGS_MISSED_MAX: u32 = 2;
/// Threads of a Caviar client for its callbacks and its listener: one for each.
pub const CAVIAR_CLIENT_THREADS: usize = 2;
/// Time for what a Caviar client has sent to leave when it closes.
pub const CAVIAR_CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Length of a turn that is worth a warning: all connections of the worker wait for its end (Seastar, Envoy).
pub const TURN_WARN: Duration = Duration::from_millis(100);
/// Length of a turn that is an error: peers have noticed.
pub const TURN_ERROR: Duration = Duration::from_secs(1);
/// Lines a minute that the watchdog writes; the rest is counted. One handler that blocks must not fill the log.
pub const WATCHDOG_LINES_PER_MINUTE: u32 = 5;
/// Connections that a worker describes in one turn to whoever asks for a list: a turn stays short.
pub const INSPECTED_PER_TURN: usize = 256;
/// Lists of connections that wait for one worker; one more is refused.
pub const INQUIRIES_MAX: usize = 16;
/// Bytes of the head of a request to the admin listener: as much as most servers take (Apache, nginx).
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 * KIB;
/// Connections that the admin listener describes; the others it counts. More than anybody reads, and some
/// 300 KiB of JSON.
pub const ADMIN_LISTED_MAX: usize = 1000;
/// Time for all workers to list their connections for the admin listener.
pub const ADMIN_LIST_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for a shutdown to flush and close everything.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between repeated log lines of one kind; what came in between is told as a count.
pub const LOG_REPEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Time that a listener rests after the system had no descriptor or memory for a connection (Netty: 1 s).
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// User memory of an idle framed connection with a handler and one armed deadline; measured, not configured.
pub const IDLE_CONNECTION_BYTES_GOAL: usize = 512;

/// I/O threads of a reactor unless told otherwise: one a core.
#[must_use]
pub fn workers_default() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Threads of an executor unless told otherwise: two a core and at least four, for handlers that wait.
#[must_use]
pub fn executor_threads_default() -> usize {
    (2 * workers_default()).max(4)
}

/// What holds for each connection of one server or client.
///
/// ```
/// use std::time::Duration;
/// use netwheel::{Server, limits::ConnectionLimits};
///
/// let mut limits = ConnectionLimits::default();
/// limits.output_bytes_max = 4 << 20;
/// limits.write_stall_timeout = Duration::from_secs(30);
/// let server = Server::new().limits(limits);
/// # let _ = server;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionLimits {
    /// See [`READS_PER_TURN`].
    pub reads_per_turn: usize,
    /// See [`READ_BYTES_PER_TURN`].
    pub read_bytes_per_turn: usize,
    /// See [`WRITE_BYTES_PER_TURN`].
    pub write_bytes_per_turn: usize,
    /// See [`HIGH_WATER_BYTES`].
    pub high_water_bytes: usize,
    /// See [`LOW_WATER_BYTES`].
    pub low_water_bytes: usize,
    /// See [`OUTPUT_BYTES_MAX`].
    pub output_bytes_max: usize,
    /// See [`WRITE_STALL_TIMEOUT`].
    pub write_stall_timeout: Duration,
    /// See [`SLOW_READER_TIMEOUT`]. Output that a [`Traffic`](crate::stages::Traffic) holds back is not counted.
    pub slow_reader_timeout: Duration,
    /// See [`FRAME_TIMEOUT`]. Time in which our side does not read does not count; raw bytes are always whole.
    pub frame_timeout: Duration,
    /// See [`LINGER_TIMEOUT`].
    pub linger_timeout: Duration,
    /// See [`LINGER_BYTES_MAX`].
    pub linger_bytes_max: usize,
}

impl ConnectionLimits {
    /// Refuses what cannot work, in words that say what would.
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least_one("reads_per_turn", self.reads_per_turn)?;
        at_least_one("read_bytes_per_turn", self.read_bytes_per_turn)?;
        at_least_one("write_bytes_per_turn", self.write_bytes_per_turn)?;
        at_least_one("output_bytes_max", self.output_bytes_max)?;
        let (low, high) = (self.low_water_bytes, self.high_water_bytes);
        if low > high {
            return Err(senseless(format!(
                "low_water_bytes is {low}, above high_water_bytes, {high}; set it to at most that"
            )));
        }
        not_zero("write_stall_timeout", self.write_stall_timeout)?;
        not_zero("slow_reader_timeout", self.slow_reader_timeout)?;
        not_zero("frame_timeout", self.frame_timeout)
    }

    pub(crate) const fn output_room(&self) -> OutputRoom {
        let (mark, max) = (self.high_water_bytes, self.output_bytes_max);
        OutputRoom {
            // A hard bound that was set below the mark is meant to hold.
            free_bytes: if mark < max { mark } else { 0 },
            bytes_max: max,
        }
    }
}

/// How much output one connection may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputRoom {
    /// So many bytes may wait, and still a message of any size may join.
    free_bytes: usize,
    bytes_max: usize,
}

impl OutputRoom {
    /// Whether a message may join so many bytes that wait.
    ///
    /// Were the hard bound all that counted, a message nearly as long as it could join an empty queue
    /// only, and whoever has waited for a writable connection would be refused all the same.
    pub(crate) fn takes(self, queued: usize, message: impl FnOnce() -> usize) -> bool {
        self.takes_any(queued) || queued.saturating_add(message()) <= self.bytes_max
    }

    /// Whether a message of any size may join so many bytes that wait.
    pub(crate) const fn takes_any(self, queued: usize) -> bool {
        queued <= self.free_bytes
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            reads_per_turn: READS_PER_TURN,
            read_bytes_per_turn: READ_BYTES_PER_TURN,
            write_bytes_per_turn: WRITE_BYTES_PER_TURN,
            high_water_bytes: HIGH_WATER_BYTES,
            low_water_bytes: LOW_WATER_BYTES,
            output_bytes_max: OUTPUT_BYTES_MAX,
            write_stall_timeout: WRITE_STALL_TIMEOUT,
            slow_reader_timeout: SLOW_READER_TIMEOUT,
            frame_timeout: FRAME_TIMEOUT,
            linger_timeout: LINGER_TIMEOUT,
            linger_bytes_max: LINGER_BYTES_MAX,
        }
    }
}

/// What holds for each datagram socket.
///
/// ```
/// use netwheel::limits::DatagramLimits;
///
/// let mut limits = DatagramLimits::default();
/// limits.datagram_bytes_max = 1200; // what is longer is told as truncated
/// # let _ = limits;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DatagramLimits {
    /// See [`DATAGRAM_BYTES_MAX`], which is also the most it can be.
    pub datagram_bytes_max: usize,
    /// See [`DATAGRAMS_PER_TURN`].
    pub datagrams_per_turn: usize,
    /// See [`DATAGRAM_BYTES_PER_TURN`].
    pub bytes_per_turn: usize,
    /// See [`DATAGRAM_QUEUE_MAX`].
    pub queue_datagrams_max: usize,
    /// See [`DATAGRAM_QUEUE_BYTES_MAX`].
    pub queue_bytes_max: usize,
}

impl DatagramLimits {
    /// Refuses what cannot work, in words that say what would.
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least_one("datagram_bytes_max", self.datagram_bytes_max)?;
        at_most(
            "datagram_bytes_max",
            self.datagram_bytes_max,
            DATAGRAM_BYTES_MAX,
        )?;
        at_least_one("datagrams_per_turn", self.datagrams_per_turn)?;
        at_least_one("bytes_per_turn", self.bytes_per_turn)?;
        at_least_one("queue_datagrams_max", self.queue_datagrams_max)?;
        at_least_one("queue_bytes_max", self.queue_bytes_max)
    }
}

impl Default for DatagramLimits {
    fn default() -> Self {
        Self {
            datagram_bytes_max: DATAGRAM_BYTES_MAX,
            datagrams_per_turn: DATAGRAMS_PER_TURN,
            bytes_per_turn: DATAGRAM_BYTES_PER_TURN,
            queue_datagrams_max: DATAGRAM_QUEUE_MAX,
            queue_bytes_max: DATAGRAM_QUEUE_BYTES_MAX,
        }
    }
}

/// What holds for each worker of one reactor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerLimits {
    /// See [`EVENTS_PER_POLL`].
    pub events_per_poll: usize,
    /// See [`READ_BUFFER_BYTES`].
    pub read_buffer_bytes: usize,
    /// See [`MAILBOX_COMMANDS_PER_TURN`].
    pub mailbox_commands_per_turn: usize,
    /// See [`MAILBOX_MESSAGES_MAX`].
    pub mailbox_messages_max: usize,
    /// See [`TIMERS_PER_TURN`].
    pub timers_per_turn: usize,
    /// See [`WORKER_BYTES_MAX`].
    pub worker_bytes_max: usize,
    /// See [`BROADCAST_BYTES_MAX`].
    pub broadcast_bytes_max: usize,
    /// See [`BROADCAST_BYTES_PER_TURN`].
    pub broadcast_bytes_per_turn: usize,
    /// Time a worker goes on polling after its last event before it sleeps; zero, the default, never
    /// spins. Trades a whole core for the wake-up, the largest part of a lone round trip.
    pub busy_poll: Duration,
    /// See [`TURN_WARN`]; `Duration::MAX` for never.
    pub turn_warn: Duration,
    /// See [`TURN_ERROR`]; `Duration::MAX` for never.
    pub turn_error: Duration,
    /// See [`WATCHDOG_LINES_PER_MINUTE`]; the callback is told of every stall in any case.
    pub watchdog_lines_per_minute: u32,
}

/// Far above any use; below it no sum of sizes can overflow.
const EVENTS_PER_POLL_MAX: usize = 1 << 20;
const READ_BUFFER_BYTES_MAX: usize = 1 << 30;

impl WorkerLimits {
    /// Refuses what cannot work, in words that say what would.
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least_one("events_per_poll", self.events_per_poll)?;
        at_most("events_per_poll", self.events_per_poll, EVENTS_PER_POLL_MAX)?;
        at_least_one("read_buffer_bytes", self.read_buffer_bytes)?;
        at_most(
            "read_buffer_bytes",
            self.read_buffer_bytes,
            READ_BUFFER_BYTES_MAX,
        )?;
        at_least_one("mailbox_commands_per_turn", self.mailbox_commands_per_turn)?;
        at_least_one("mailbox_messages_max", self.mailbox_messages_max)?;
        at_least_one("timers_per_turn", self.timers_per_turn)?;
        at_least_one("worker_bytes_max", self.worker_bytes_max)?;
        at_least_one("broadcast_bytes_max", self.broadcast_bytes_max)?;
        at_least_one("broadcast_bytes_per_turn", self.broadcast_bytes_per_turn)?;
        if self.turn_warn.is_zero() || self.turn_error.is_zero() {
            let text = "turn_warn or turn_error is zero, which every turn exceeds; set a time, or \
                Duration::MAX for never";
            return Err(senseless(text));
        }
        Ok(())
    }
}

/// Refuses a limit of zero, by the name under which it is set.
pub(crate) fn at_least_one(name: &str, value: usize) -> Result<(), Error> {
    if value == 0 {
        return Err(senseless(format!(
            "{name} is 0, which allows nothing at all; set it to at least 1, or leave it alone"
        )));
    }
    Ok(())
}

fn at_most(name: &str, value: usize, max: usize) -> Result<(), Error> {
    if value > max {
        return Err(senseless(format!(
            "{name} is {value}; set it to at most {max}"
        )));
    }
    Ok(())
}

/// Refuses a deadline that has passed before anybody could meet it.
fn not_zero(name: &str, time: Duration) -> Result<(), Error> {
    if time.is_zero() {
        return Err(senseless(format!(
            "{name} is zero, which closes every connection whose peer is not faster than we are; \
             set a time, or Duration::MAX to wait for ever"
        )));
    }
    Ok(())
}

fn senseless(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, text)
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            events_per_poll: EVENTS_PER_POLL,
            read_buffer_bytes: READ_BUFFER_BYTES,
            mailbox_commands_per_turn: MAILBOX_COMMANDS_PER_TURN,
            mailbox_messages_max: MAILBOX_MESSAGES_MAX,
            timers_per_turn: TIMERS_PER_TURN,
            worker_bytes_max: WORKER_BYTES_MAX,
            broadcast_bytes_max: BROADCAST_BYTES_MAX,
            broadcast_bytes_per_turn: BROADCAST_BYTES_PER_TURN,
            busy_poll: Duration::ZERO,
            turn_warn: TURN_WARN,
            turn_error: TURN_ERROR,
            watchdog_lines_per_minute: WATCHDOG_LINES_PER_MINUTE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets one field to a value, and says which.
    type Spoil<L> = (&'static str, fn(&mut L));

    #[test]
    fn every_limit_of_a_connection_is_checked() {
        let spoils: [Spoil<ConnectionLimits>; 8] = [
            ("reads_per_turn", |limits| limits.reads_per_turn = 0),
            ("read_bytes_per_turn", |limits| {
                limits.read_bytes_per_turn = 0
            }),
            ("write_bytes_per_turn", |limits| {
                limits.write_bytes_per_turn = 0
            }),
            ("low_water_bytes", |limits| {
                limits.low_water_bytes = HIGH_WATER_BYTES + 1
            }),
            ("output_bytes_max", |limits| limits.output_bytes_max = 0),
            ("write_stall_timeout", |limits| {
                limits.write_stall_timeout = Duration::ZERO
            }),
            ("slow_reader_timeout", |limits| {
                limits.slow_reader_timeout = Duration::ZERO
            }),
            ("frame_timeout", |limits| {
                limits.frame_timeout = Duration::ZERO
            }),
        ];
        for (name, spoil) in spoils {
            let mut limits = ConnectionLimits::default();
            spoil(&mut limits);
            names_it(limits.check(), name);
        }
        let mut least = ConnectionLimits {
            reads_per_turn: 1,
            read_bytes_per_turn: 1,
            write_bytes_per_turn: 1,
            high_water_bytes: 0,
            low_water_bytes: 0,
            output_bytes_max: 1,
            write_stall_timeout: Duration::MAX,
            slow_reader_timeout: Duration::MAX,
            frame_timeout: Duration::MAX,
            linger_timeout: Duration::ZERO,
            linger_bytes_max: 0,
        };
        least.check().expect("small, but it works");
        least.high_water_bytes = usize::MAX;
        least.check().expect("large, but it works");
    }

    #[test]
    fn every_limit_of_a_datagram_socket_is_checked() {
        let spoils: [Spoil<DatagramLimits>; 6] = [
            ("datagram_bytes_max", |limits| limits.datagram_bytes_max = 0),
            ("datagram_bytes_max", |limits| {
                limits.datagram_bytes_max = DATAGRAM_BYTES_MAX + 1
            }),
            ("datagrams_per_turn", |limits| limits.datagrams_per_turn = 0),
            ("bytes_per_turn", |limits| limits.bytes_per_turn = 0),
            ("queue_datagrams_max", |limits| {
                limits.queue_datagrams_max = 0
            }),
            ("queue_bytes_max", |limits| limits.queue_bytes_max = 0),
        ];
        for (name, spoil) in spoils {
            let mut limits = DatagramLimits::default();
            spoil(&mut limits);
            names_it(limits.check(), name);
        }
        DatagramLimits::default()
            .check()
            .expect("the defaults work");
    }

    #[test]
    fn every_limit_of_a_worker_is_checked() {
        let spoils: [Spoil<WorkerLimits>; 12] = [
            ("worker_bytes_max", |limits| limits.worker_bytes_max = 0),
            ("broadcast_bytes_max", |limits| {
                limits.broadcast_bytes_max = 0
            }),
            ("broadcast_bytes_per_turn", |limits| {
                limits.broadcast_bytes_per_turn = 0
            }),
            ("events_per_poll", |limits| limits.events_per_poll = 0),
            ("events_per_poll", |limits| {
                limits.events_per_poll = usize::MAX
            }),
            ("read_buffer_bytes", |limits| limits.read_buffer_bytes = 0),
            ("read_buffer_bytes", |limits| {
                limits.read_buffer_bytes = usize::MAX
            }),
            ("mailbox_commands_per_turn", |limits| {
                limits.mailbox_commands_per_turn = 0
            }),
            ("mailbox_messages_max", |limits| {
                limits.mailbox_messages_max = 0
            }),
            ("timers_per_turn", |limits| limits.timers_per_turn = 0),
            ("turn_warn", |limits| limits.turn_warn = Duration::ZERO),
            ("turn_error", |limits| limits.turn_error = Duration::ZERO),
        ];
        for (name, spoil) in spoils {
            let mut limits = WorkerLimits::default();
            spoil(&mut limits);
            names_it(limits.check(), name);
        }
        let least = WorkerLimits {
            events_per_poll: 1,
            read_buffer_bytes: 1,
            mailbox_commands_per_turn: 1,
            mailbox_messages_max: 1,
            timers_per_turn: 1,
            worker_bytes_max: 1,
            broadcast_bytes_max: 1,
            broadcast_bytes_per_turn: 1,
            busy_poll: Duration::ZERO,
            turn_warn: Duration::from_nanos(1),
            turn_error: Duration::from_nanos(1),
            watchdog_lines_per_minute: 0,
        };
        least.check().expect("small, but it works");
    }

    #[track_caller]
    fn names_it(refused: Result<(), Error>, name: &str) {
        let error = refused.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("set "), "{text}");
    }
}
