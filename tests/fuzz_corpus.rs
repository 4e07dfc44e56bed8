//! Replays the seeds of the fuzzer, and random neighbours of each, through its own functions.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, which prints what it tries"
)]

#[path = "../fuzz/src/lib.rs"]
#[allow(
    missing_docs,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "another package's"
)]
mod fuzz;
mod util;

use std::fs;
use std::path::{Path, PathBuf};

use util::Random;

/// Neighbours of each seed that are tried.
const NEIGHBOURS: usize = 50;

/// The seeds of a target, in the order of their names.
fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = fs::read_dir(folder.join(target)).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Changes, drops or repeats some bytes.
fn neighbour(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut data = seed.to_vec();
    let mut below = |bound: usize| (random.next() >> 32) as usize % bound;
    for _ in 0..=below(3) {
        let place = below(data.len() + 1);
        match below(4) {
            0 => data.truncate(place),
            1 => data.insert(place, below(256) as u8),
            2 => data.extend_from_within(place..),
            _ => {
                if let Some(byte) = data.get_mut(place) {
                    *byte ^= 1 << below(8);
                }
            }
        }
    }
    data
}

#[test]
fn no_seed_and_no_neighbour_breaks_a_promise() {
    for (name, target) in fuzz::TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "no seeds for {name}");
        for seed in seeds {
            println!("{}", seed.display());
            let data = fs::read(&seed).unwrap();
            target(&data);
            let mut random = Random(1 + data.len() as u64);
            for _ in 0..NEIGHBOURS {
                let data = neighbour(&data, &mut random);
                println!("{}", data.escape_ascii());
                target(&data);
            }
        }
    }
}

#[test]
fn every_folder_of_seeds_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(!seeds(name).is_empty(), "{name}");
        let behind_feature =
            ["caviar", "gzip", "json", "msgpack", "protobuf", "stack"].contains(&name);
        let known = fuzz::TARGETS.iter().any(|(target, _)| *target == name);
        assert!(known || behind_feature, "{name}");
    }
}
