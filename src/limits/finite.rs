//! Every knob, by name: each is finite by default, and a new one does not compile before it stands here.

use std::time::Duration;

use super::{ConnectionLimits, DatagramLimits, WorkerLimits};
use crate::options::Options;

/// Beyond this a bound is none.
const BYTES_OR_ITEMS_MAX: usize = 1 << 30;
const TIME_MAX: Duration = Duration::from_secs(3600);

fn count(name: &str, value: usize) {
    assert!(value > 0, "{name} allows nothing");
    assert!(
        value <= BYTES_OR_ITEMS_MAX,
        "{name} is not bounded: {value}"
    );
}

fn time(name: &str, value: Duration) {
    assert!(!value.is_zero(), "{name} allows nothing");
    assert!(value <= TIME_MAX, "{name} is not bounded: {value:?}");
}

/// Checks each field by the check that is named, and lists all of them.
macro_rules! knobs {
    ($limits:expr, $kind:ident { $($field:ident: $check:ident),* $(,)? }) => {
        let $kind { $($field),* } = $limits;
        $($check(stringify!($field), $field);)*
    };
}

#[test]
fn every_knob_of_a_connection_is_finite() {
    knobs!(
        ConnectionLimits::default(),
        ConnectionLimits {
            reads_per_turn: count,
            read_bytes_per_turn: count,
            write_bytes_per_turn: count,
            high_water_bytes: count,
            low_water_bytes: count,
            output_bytes_max: count,
            write_stall_timeout: time,
            slow_reader_timeout: time,
            frame_timeout: time,
            linger_timeout: time,
            linger_bytes_max: count,
        }
    );
}

#[test]
fn every_knob_of_a_datagram_socket_is_finite() {
    knobs!(
        DatagramLimits::default(),
        DatagramLimits {
            datagram_bytes_max: count,
            datagrams_per_turn: count,
            bytes_per_turn: count,
            queue_datagrams_max: count,
            queue_bytes_max: count,
        }
    );
}

#[test]
fn every_knob_of_a_worker_is_finite() {
    fn lines(name: &str, value: u32) {
        count(name, value as usize);
    }
    /// Spinning is a cost and no bound: none is the least.
    fn off(name: &str, value: Duration) {
        assert!(value.is_zero(), "{name}: {value:?}");
    }
    knobs!(
        WorkerLimits::default(),
        WorkerLimits {
            events_per_poll: count,
            read_buffer_bytes: count,
            mailbox_commands_per_turn: count,
            mailbox_messages_max: count,
            timers_per_turn: count,
            turn_warn: time,
            turn_error: time,
            watchdog_lines_per_minute: lines,
            worker_bytes_max: count,
            broadcast_bytes_max: count,
            broadcast_bytes_per_turn: count,
            busy_poll: off,
        }
    );
}

#[test]
fn every_knob_of_a_server_is_finite_or_has_a_finite_one_above_it() {
    /// Not a limit.
    fn switch<T>(_: &str, _: T) {}
    /// Off by default; what bounds it then is named in the documentation of its builder's method.
    fn narrower<T>(name: &str, value: Option<T>) {
        assert!(value.is_none(), "{name} is set by default: check it");
    }
    fn queue(name: &str, value: i32) {
        count(name, usize::try_from(value).expect("a backlog"));
    }
    knobs!(
        Options::default(),
        Options {
            limits: switch, // above
            auto_pause: switch,
            half_open: switch,
            nodelay: switch,
            keepalive: narrower,         // idle times and heartbeats are stages
            send_buffer_bytes: narrower, // the system's
            receive_buffer_bytes: narrower,
            linger: narrower, // the close never waits for more than linger_timeout
            user_timeout: narrower, // the write stall
            backlog: queue,
            share_port: switch,
            connections_max: narrower,             // the reactor's
            connections_per_address_max: narrower, // connections_max
            overflow: switch,
            accept_rate: narrower, // ACCEPT_BATCH a turn
        }
    );
}

/// Bounds that are constants and arguments' defaults.
#[test]
fn every_default_that_is_a_constant_is_finite() {
    for (name, value) in [
        ("CONNECTIONS_MAX", super::CONNECTIONS_MAX),
        ("FRAME_BYTES_MAX", super::FRAME_BYTES_MAX),
        ("LANE_MESSAGES_MAX", super::LANE_MESSAGES_MAX),
        ("EXECUTOR_MESSAGES_MAX", super::EXECUTOR_MESSAGES_MAX),
        ("FILES_WAITING_MAX", super::FILES_WAITING_MAX),
        ("TASKS_MAX", super::TASKS_MAX),
        ("LOOKUPS_MAX", super::LOOKUPS_MAX),
        ("DOWN_MESSAGES_MAX", super::DOWN_MESSAGES_MAX),
        ("DOWN_BYTES_MAX", super::DOWN_BYTES_MAX),
        ("BATCH_ITEMS_MAX", super::BATCH_ITEMS_MAX),
        ("BATCH_WAITING_MAX", super::BATCH_WAITING_MAX),
        ("OUTBOX_MESSAGES_MAX", super::OUTBOX_MESSAGES_MAX),
        ("OUTBOX_BYTES_MAX", super::OUTBOX_BYTES_MAX),
        ("workers_default", super::workers_default()),
        (
            "executor_threads_default",
            super::executor_threads_default(),
        ),
    ] {
        count(name, value);
    }
    for (name, value) in [
        ("CONNECT_TIMEOUT", super::CONNECT_TIMEOUT),
        ("HANDSHAKE_TIMEOUT", super::HANDSHAKE_TIMEOUT),
        ("BATCH_DELAY_MAX", super::BATCH_DELAY_MAX),
        ("OUTBOX_AGE_MAX", super::OUTBOX_AGE_MAX),
        ("SHUTDOWN_TIMEOUT", super::SHUTDOWN_TIMEOUT),
        ("ACCEPT_BACKOFF", super::ACCEPT_BACKOFF),
    ] {
        time(name, value);
    }
}
