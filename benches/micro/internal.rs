//! Parts of the library that its interface does not show, compiled from their own files.

#![allow(
    dead_code,
    unfulfilled_lint_expectations,
    unreachable_pub,
    unused_imports,
    reason = "a bench uses a part of each, without its tests and the library's lints"
)]

#[path = "../../src/clock.rs"]
pub(crate) mod clock;
#[path = "../../src/id.rs"]
pub(crate) mod id;
#[path = "../../src/mailbox.rs"]
pub(crate) mod mailbox;
#[path = "../../src/planted.rs"]
pub(crate) mod planted;
#[path = "../../src/slots.rs"]
pub(crate) mod slots;
#[path = "../../src/sync.rs"]
pub(crate) mod sync;
#[path = "../../src/wheel.rs"]
pub(crate) mod wheel;
