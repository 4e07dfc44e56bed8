//! The command that repeats a failure.

use std::path::Path;
use std::{env, thread};

use super::runs::VARIABLE;

/// A command line that runs the present test, or example, under one seed.
pub(super) fn replay(seed: u64) -> String {
    let program = env::current_exe().unwrap_or_default();
    let arguments: Vec<_> = env::args().skip(1).collect();
    let thread = thread::current();
    let test = thread.name().filter(|name| *name != "main");
    let package = env::var("CARGO_PKG_NAME").unwrap_or_default();
    format!(
        "{VARIABLE}={seed} {}",
        command(
            &program,
            &package,
            test,
            !cfg!(debug_assertions),
            &arguments
        )
    )
}

/// What cargo is to run, as far as the place of the program says it.
fn command(
    program: &Path,
    package: &str,
    test: Option<&str>,
    release: bool,
    arguments: &[String],
) -> String {
    let stem = program.file_stem().unwrap_or_default().to_string_lossy();
    let folder = program.parent().and_then(Path::file_name);
    let is_in = |name: &str| folder.is_some_and(|folder| folder == name);
    let mut words = vec!["cargo".to_owned()];
    let verb = if is_in("examples") { "run" } else { "test" };
    words.push(verb.to_owned());
    if release {
        words.push("--release".to_owned());
    }
    if is_in("examples") {
        words.push(format!("--example {stem}"));
    } else if is_in("deps") {
        // Cargo puts a hash behind the target's name.
        let target = stem.rsplit_once('-').map_or(&*stem, |(target, _)| target);
        words.push(match target == package.replace('-', "_") {
            true => "--lib".to_owned(),
            false => format!("--test {target}"),
        });
    }
    words.extend(test.map(str::to_owned));
    if is_in("examples") && !arguments.is_empty() {
        words.push(format!("-- {}", arguments.join(" ")));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_target_and_the_test() {
        let of = |program: &str, test, release| {
            command(
                Path::new(program),
                "my-shop",
                test,
                release,
                &["--naive".to_owned()],
            )
        };
        assert_eq!(
            of("/t/debug/deps/sim-0a1b", Some("echo::small"), false),
            "cargo test --test sim echo::small"
        );
        assert_eq!(
            of(
                "/t/release/deps/my_shop-0a1b",
                Some("orders::tests::all"),
                true
            ),
            "cargo test --release --lib orders::tests::all"
        );
        assert_eq!(
            of("/t/release/examples/sim_bad_network", None, true),
            "cargo run --release --example sim_bad_network -- --naive"
        );
        assert_eq!(of("/tmp/doctest/rust_out", None, false), "cargo test");
    }
}
