//! Keeps the tree tidy: reads `src/`, ARCHITECTURE.md and README.md and fails where they break a promise that the
//! compiler does not check.
//!
//! ```text
//!   lexer.rs    Rust as words, without its comments and strings
//!   source.rs   a file: its words, its module, its imports, what of it is for tests
//!   floors.rs   imports go down, and never in a circle
//!   words.rs    words that have a home, and words that have none
//!   map.rs      ARCHITECTURE.md names what is there, and nothing else
//!   guarantees.rs   what holds the README's guarantees is there
//! ```
//! Each rule is a function from sources to faults, so that it is tested on planted faults beside it. The
//! tables below are all there is to edit when the tree grows.

mod floors;
mod guarantees;
mod lexer;
mod map;
mod source;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use source::Source;
use words::Home;

/// The floors, lowest first: a module imports its own floor and those below. `lib.rs` stands on top and
/// is imported by nobody. A row is a module or a path such as `transport::system`; the longest fitting
/// row counts, and everything below it is one room.
const FLOORS: &[&[&str]] = &[
    &["clock", "error", "id", "limits", "planted", "sync"],
    &[
        "address",
        "buffer",
        "completion",
        "counter",
        "fan_out",
        "file_region",
        "histogram",
        "inspection",
        "json",
        "mailbox",
        "metrics",
        "options",
        "panics",
        "random",
        "repeated",
        "schedule",
        "slots",
        "stats",
        "target",
        "thread_role",
        "watchdog",
        "wheel",
        "whereabouts",
    ],
    &["codec"],
    &[
        "connection",
        "datagram",
        "executor",
        "group",
        "handle",
        "pipeline",
        "sessions",
    ],
    &["link", "net", "stages", "testing", "tls"],
    &["transport"],
    &["reactor", "sim"],
    &["client", "server", "udp"],
    &["admin", "caviar", "stack"],
];

/// Words that may stand in one place only, with the reason.
const HOMES: &[Home] = &[
    Home {
        words: &["mio", "socket2"],
        place: "transport/system/",
        why: "everything else runs on any driver, the one in memory included",
    },
    Home {
        words: &[
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "UnixDatagram",
        ],
        place: "transport/",
        why: "nothing but the transport reaches for a socket",
    },
    Home {
        words: &["SystemTime"],
        place: "clock.rs",
        why: "time is handed down from one clock",
    },
];

/// Words that stand nowhere in the library: it has no async runtime and needs none.
const BANNED: &[&str] = &["async", "await", "async_std", "futures", "smol", "tokio"];

/// Files that may say `unsafe`; each says what it gains.
const UNSAFE_FILES: &[&str] = &[
    "transport/system/handed_over.rs",
    "transport/system/receive.rs",
];

#[test]
fn imports_go_down() {
    tidy(&floors::upward(FLOORS, &sources()));
}

#[test]
fn imports_make_no_circle() {
    tidy(&floors::circle(FLOORS, &sources()));
}

#[test]
fn every_module_has_a_floor_and_every_row_a_module() {
    tidy(&floors::unplaced(FLOORS, &sources()));
}

#[test]
fn words_keep_to_their_homes() {
    tidy(&words::astray(HOMES, &sources()));
}

#[test]
fn nothing_is_async() {
    tidy(&words::named(BANNED, &sources()));
}

#[test]
fn unsafe_code_stands_in_listed_files_only() {
    tidy(&words::unsafe_outside(UNSAFE_FILES, &sources()));
}

#[test]
fn nothing_is_left_over() {
    tidy(&words::leftovers(&sources()));
}

#[test]
fn every_file_says_what_it_is() {
    tidy(&words::undocumented_files(&sources()));
}

#[test]
fn the_code_map_names_every_file() {
    tidy(&map::code_map(&architecture(), &rust_files()));
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    tidy(&map::stale_files(&architecture(), &rust_files()));
}

#[test]
fn every_limit_is_documented() {
    let sources = sources();
    let limits = sources
        .iter()
        .find(|source| source.path == "limits.rs")
        .expect("src/limits.rs holds the limits");
    tidy(&map::limits(&architecture(), limits));
}

#[test]
fn every_guarantee_is_held_by_what_is_there() {
    let texts = rust_files().into_iter().map(|path| {
        let text = read(&path);
        (path, text)
    });
    let texts: Vec<_> = texts.collect();
    tidy(&guarantees::unproven(&read("README.md"), &texts));
}

/// Fails with one fault a line.
#[track_caller]
fn tidy(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn sources() -> Vec<Source> {
    let sources: Vec<_> = rust_files()
        .iter()
        .filter_map(|path| Some(Source::new(path.strip_prefix("src/")?, &read(path))))
        .collect();
    assert!(!sources.is_empty(), "src/ holds the library");
    sources
}

fn architecture() -> String {
    read("ARCHITECTURE.md")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file that the code map may name, relative to the package, sorted.
fn rust_files() -> Vec<String> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "examples", "tests", "benches"]
        .map(PathBuf::from)
        .into();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root().join(&folder)) else {
            continue;
        };
        for entry in entries {
            let name = entry
                .expect("a folder that opened can be listed")
                .file_name();
            let path = folder.join(name);
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    files.sort();
    files
}
