//! Imports go down the floors, or stay on one; rooms of one floor do not import each other in a circle.
//!
//! A room is a row of the table with everything below it, so a folder is one room: what goes on between
//! its files is its own affair. Code for tests may import what it likes.

use std::collections::BTreeMap;

use crate::source::Source;

/// A module's row, with its floor.
type Room = (&'static str, usize);
type Floors = &'static [&'static [&'static str]];

/// One import of another room.
struct Step {
    from: Room,
    to: Room,
    place: String,
}

/// Imports of a room above, and of the crate's root, through which one could reach any room.
pub(crate) fn upward(floors: Floors, sources: &[Source]) -> Vec<String> {
    let (steps, mut faults) = steps(floors, sources);
    faults.extend(
        steps
            .iter()
            .filter(|step| step.to.1 > step.from.1)
            .map(|step| {
                let Step { from, to, place } = step;
                format!(
                    "{place}: {} (floor {}) imports {} (floor {}), which stands above it",
                    from.0, from.1, to.0, to.1
                )
            }),
    );
    faults
}

/// A way along imports from a room back to itself.
pub(crate) fn circle(floors: Floors, sources: &[Source]) -> Vec<String> {
    let (steps, _) = steps(floors, sources);
    let mut graph: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for step in &steps {
        graph
            .entry(step.from.0)
            .or_default()
            .entry(step.to.0)
            .or_insert(&step.place);
    }
    // Rooms that import nothing that is left are in no circle; what stays leads into one.
    while let Some(leaf) = graph
        .keys()
        .copied()
        .find(|room| graph[room].keys().all(|to| !graph.contains_key(to)))
    {
        graph.remove(leaf);
    }
    let Some(&start) = graph.keys().next() else {
        return Vec::new();
    };
    let mut way = vec![(start, "")];
    loop {
        let here = way[way.len() - 1].0;
        let (&next, &place) = graph[here]
            .iter()
            .find(|(to, _)| graph.contains_key(*to))
            .expect("leaves were taken away");
        let seen = way.iter().position(|&(room, _)| room == next);
        way.push((next, place));
        if let Some(seen) = seen {
            let steps = way[seen + 1..]
                .iter()
                .map(|(room, place)| format!(" -> {room} ({place})"));
            return vec![format!("circle: {next}{}", steps.collect::<String>())];
        }
    }
}

/// Modules that the table does not know, and rows of the table that no module answers to.
pub(crate) fn unplaced(floors: Floors, sources: &[Source]) -> Vec<String> {
    let modules: Vec<_> = sources
        .iter()
        .map(|source| (source, source.module()))
        .collect();
    let homeless = modules
        .iter()
        .filter(|(_, module)| !module.is_empty() && room(floors, module).is_none())
        .map(|(source, _)| {
            format!(
                "src/{}: no floor; give its module a place in the table",
                source.path
            )
        });
    let rows = floors.iter().copied().flatten();
    let stale = rows
        .filter(|row| !modules.iter().any(|(_, module)| begins(module, row)))
        .map(|row| format!("the table of floors names {row}, which is not there"));
    homeless.chain(stale).collect()
}

/// Every import from one room to another, and the imports that lead to no room.
fn steps(floors: Floors, sources: &[Source]) -> (Vec<Step>, Vec<String>) {
    let tests: Vec<_> = sources.iter().flat_map(Source::test_modules).collect();
    let modules: Vec<_> = sources.iter().map(Source::module).collect();
    let is_module = |path: &[String]| {
        modules
            .iter()
            .any(|m| !m.is_empty() && m.first() == path.first())
    };
    let (mut steps, mut faults) = (Vec::new(), Vec::new());
    for source in sources {
        let module = source.module();
        let is_test = tests.iter().any(|test| module.starts_with(test));
        let Some(from) = room(floors, &module).filter(|_| !is_test) else {
            continue;
        };
        for import in source.imports() {
            let place = format!("src/{}:{}", source.path, import.line);
            match room(floors, &import.path) {
                Some(to) if to == from => {}
                Some(to) => steps.push(Step { from, to, place }),
                None if is_module(&import.path) => {} // a module without a floor is a fault of its own
                None => faults.push(format!(
                    "{place}: imports crate::{} through the crate's root; name its module",
                    import.path.join("::")
                )),
            }
        }
    }
    (steps, faults)
}

/// The longest row that `path` begins with.
fn room(floors: Floors, path: &[String]) -> Option<Room> {
    let rows = floors
        .iter()
        .enumerate()
        .flat_map(|(floor, rows)| rows.iter().map(move |row| (*row, floor)));
    rows.filter(|(row, _)| begins(path, row))
        .max_by_key(|(row, _)| row.len())
}

fn begins(path: &[String], row: &str) -> bool {
    let mut path = path.iter();
    row.split("::")
        .all(|segment| path.next().is_some_and(|found| found == segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOORS: Floors = &[
        &["error"],
        &["wheel", "slots", "buffer"],
        &["server", "buffer::high"],
    ];

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect()
    }

    #[test]
    fn a_tidy_tree_has_no_fault() {
        let sources = sources(&[
            ("lib.rs", "mod error; pub use server::Server;"),
            ("error.rs", "//! [`x`](crate::server::Server)"),
            (
                "wheel.rs",
                "use crate::error::Error; use crate::slots::Slots;",
            ),
            ("wheel/tests.rs", ""),
            (
                "slots.rs",
                "use crate::error; #[cfg(test)] mod tests { use crate::server::Server; use crate::wheel; }",
            ),
            (
                "buffer/mod.rs",
                "mod output; pub use output::Output; use self::output::Part;",
            ),
            (
                "buffer/output.rs",
                "use super::Thing; use crate::buffer::Other; use super::super::error::E;",
            ),
            ("buffer/high.rs", "use super::Output;"),
            (
                "server.rs",
                "use crate::{wheel, buffer::high::H}; fn f() -> crate::error::E {}",
            ),
        ]);
        assert_eq!(upward(FLOORS, &sources), [""; 0]);
        assert_eq!(circle(FLOORS, &sources), [""; 0]);
        assert_eq!(unplaced(FLOORS, &sources), [""; 0]);
    }

    #[test]
    fn an_import_from_above_is_found() {
        for text in [
            "use crate::server::Server;",
            "use super::server;",
            "use crate::{error::E, server::Server};",
            "fn f(s: &crate::server::Server) {}",
        ] {
            let faults = upward(
                FLOORS,
                &sources(&[("wheel.rs", &format!("//! W.\n{text}"))]),
            );
            assert_eq!(
                faults,
                ["src/wheel.rs:2: wheel (floor 1) imports server (floor 2), which stands above it"],
                "{text}"
            );
        }
    }

    #[test]
    fn an_import_from_above_is_found_inside_a_folder() {
        let faults = upward(
            FLOORS,
            &sources(&[("buffer/output.rs", "use super::high::H;")]),
        );
        assert_eq!(
            faults,
            [
                "src/buffer/output.rs:1: buffer (floor 1) imports buffer::high (floor 2), which stands above it"
            ]
        );
    }

    #[test]
    fn an_import_through_the_root_is_found() {
        let stray = ("stray.rs", "");
        let wheel = ("wheel.rs", "use crate::stray::S; use crate::Server;");
        let faults = upward(FLOORS, &sources(&[stray, wheel]));
        assert_eq!(
            faults,
            ["src/wheel.rs:1: imports crate::Server through the crate's root; name its module"]
        );
    }

    #[test]
    fn files_for_tests_import_what_they_like() {
        let wheel = ("wheel.rs", "#[cfg(test)] mod tests;");
        let tests = ("wheel/tests.rs", "use crate::server::Server;");
        assert_eq!(upward(FLOORS, &sources(&[wheel, tests])), [""; 0]);
        assert_eq!(
            upward(FLOORS, &sources(&[("wheel.rs", "mod tests;"), tests])).len(),
            1
        );
    }

    #[test]
    fn a_circle_is_found() {
        let two = sources(&[
            ("wheel.rs", "use crate::slots::S;"),
            ("slots.rs", "\nuse super::wheel::W;"),
        ]);
        assert_eq!(
            circle(FLOORS, &two),
            ["circle: slots -> wheel (src/slots.rs:2) -> slots (src/wheel.rs:1)"]
        );

        let three = sources(&[
            ("server.rs", "use crate::wheel;"), // leads into the circle, is not in it
            ("buffer/a.rs", "use crate::slots::S;"),
            ("buffer/b.rs", ""),
            ("slots.rs", "use crate::wheel;"),
            ("wheel.rs", "use crate::error; use crate::buffer::b;"),
        ]);
        assert_eq!(
            circle(FLOORS, &three),
            [
                "circle: buffer -> slots (src/buffer/a.rs:1) -> wheel (src/slots.rs:1) -> buffer (src/wheel.rs:1)"
            ]
        );
        assert_eq!(upward(FLOORS, &three), [""; 0]);
    }

    #[test]
    fn a_module_without_a_floor_and_a_row_without_a_module_are_found() {
        let faults = unplaced(
            FLOORS,
            &sources(&[("error.rs", ""), ("wheel.rs", ""), ("stray/mod.rs", "")]),
        );
        assert_eq!(
            faults,
            [
                "src/stray/mod.rs: no floor; give its module a place in the table",
                "the table of floors names slots, which is not there",
                "the table of floors names buffer, which is not there",
                "the table of floors names server, which is not there",
                "the table of floors names buffer::high, which is not there",
            ]
        );
    }
}
