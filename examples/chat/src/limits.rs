//! Every bound of the chat, with its unit and its reason. Those with a flag can be changed by it.

use std::time::Duration;

/// Bytes of a frame's body: more is no chat. Checked before memory grows.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of a message that one user sends to others: it stands in histories and inboxes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a command, as JSON: a name and two numbers, with much room. It is read on an I/O thread.
pub const COMMAND_BYTES_MAX: usize = 4 << 10;
/// Bytes of a user's name, or a room's: they are keys of the store, and stand in every message.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a password: hashing takes time for each.
pub const TOKEN_BYTES_MAX: usize = 1024;
/// From the connect, or a logout, to a login (`--login-secs`).
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames before a login that are answered; the next one closes.
pub const FRAMES_BEFORE_LOGIN_MAX: u32 = 16;
/// Silence after which a connection is given up (`--idle-secs`): three heartbeats.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(150);
/// Between two heartbeats of a client.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(50);
/// Between two tries of a client to connect.
pub const RECONNECT_INTERVAL: Duration = Duration::from_secs(10);
/// Logins that wait for the check of their password, over all connections; more are told that it is busy.
pub const LOGINS_WAITING_MAX: usize = 4096;
/// Messages and commands that wait for the store, over all connections; who has more is not read meanwhile.
pub const DESK_ORDERS_MAX: usize = 8192;
/// Of these, how many of one connection: a flood is its sender's affair.
pub const DESK_ORDERS_PER_SESSION_MAX: usize = 256;
/// Bytes of messages that wait for the store, over all connections.
pub const DESK_BYTES_MAX: usize = 32 << 20;
/// All that waits for the office, with news of connections, two for each that a server may have: while there is
/// more, logins are told that it is busy.
pub const DESK_NEWS_MAX: usize = 131_072;
/// Between two tries to put on the desk what found no room there.
pub const DESK_RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// Messages and commands that go to the disk together: one flush for all of them.
pub const ORDERS_PER_COMMIT: usize = 512;
/// Messages of a user that no device has acknowledged; more are refused to their senders.
pub const INBOX_MESSAGES_MAX: u64 = 10_000;
/// Messages of a conversation that are kept; older ones go.
pub const HISTORY_MESSAGES_MAX: u64 = 100_000;
/// Messages of a page of history.
pub const PAGE_MESSAGES_MAX: usize = 100;
/// Bytes of a page of history, unless it is a single message: an eighth of what may wait for a connection.
pub const PAGE_BYTES_MAX: usize = 128 << 10;
/// Messages of a room that one who comes back is sent; the rest is in the history.
pub const MISSED_MESSAGES_MAX: usize = 1000;
/// Messages of a sender's device by which repeats are known.
pub const REPEATS_KNOWN_MAX: u64 = 1024;
/// Messages of one session that were refused with code 8 and have not come again, by which what is said later to the
/// same receivers is held back. More than a client keeps; who has more is closed, and sends all of it again, in order,
/// when it is back.
pub const REFUSED_MESSAGES_MAX: usize = 1024;
/// Bytes that wait for a receiver, who reads too slowly for more: the rest waits in the store. Below the library's
/// high water mark, so that who catches up does not pass for a slow member of a room.
pub const PARKED_BYTES_MAX: usize = 48 << 10;
/// Messages read from the store at once for a receiver that comes, or comes back.
pub const CATCH_UP_MESSAGES: usize = 64;
/// Rooms at a time.
pub const ROOMS_MAX: usize = 10_000;
/// Rooms that a connection may be in.
pub const ROOMS_PER_SESSION_MAX: usize = 64;
/// Members of a room up to which they hear of each other's coming and going: of a crowd nobody wants to.
pub const NOTICED_MEMBERS_MAX: usize = 100;
/// Names that an answer lists; the others are counted.
pub const NAMES_LISTED_MAX: usize = 1000;
/// Bytes of one block of an answer.
pub const BLOCK_BYTES_MAX: usize = 32 << 10;
/// Messages that a client keeps until the server has acknowledged them.
pub const UNSENT_MESSAGES_MAX: usize = 1000;
