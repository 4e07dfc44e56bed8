//! `cargo bench --bench micro -- FILTER`: what the library's parts cost, one by one.
//!
//! How to read it, and what is measured: see `benches/README.md`.

mod codecs;
mod executor;
mod internal;
mod mailbox;
mod pipeline;
mod random;
mod sessions;
mod slots;
mod timers;
mod wheel;

// The included files know these by the names that they have in the library.
use internal::{clock, id, planted, sync};

/// Samples of each bench, unless its attribute or `--sample-count` says otherwise: enough for a steady
/// median where other programs run, and all is done in a few minutes.
const SAMPLES: u32 = 1000;

fn main() {
    // `cargo test --all-targets` runs benches too, without this mark.
    if std::env::args().any(|argument| argument == "--bench") {
        divan::Divan::default()
            .sample_count(SAMPLES)
            .config_with_args()
            .main();
    }
}
