//! Words that have a home, words that have none, and the words that open a file.

use crate::lexer::Word;
use crate::source::Source;

/// Words that may stand in one place only.
pub(crate) struct Home {
    pub(crate) words: &'static [&'static str],
    /// A file of `src/`, or a folder with its slash.
    pub(crate) place: &'static str,
    pub(crate) why: &'static str,
}

/// Marks of work that was left for later.
const LEFT_FOR_LATER: &[&str] = &["TODO", "FIXME", "XXX"];
const UNFINISHED_MACROS: &[&str] = &["dbg", "todo", "unimplemented"];

/// Words that stand outside their home.
pub(crate) fn astray(homes: &[Home], sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for home in homes {
        let strangers = sources
            .iter()
            .filter(|source| !source.path.starts_with(home.place));
        for (source, word) in strangers.flat_map(|source| uses(source, home.words)) {
            let (
                place,
                Home {
                    place: home, why, ..
                },
            ) = (place(source, word.line), home);
            faults.push(format!(
                "{place}: names {}, whose home is src/{home}: {why}",
                word.text
            ));
        }
    }
    faults
}

/// Words that stand nowhere.
pub(crate) fn named(banned: &[&str], sources: &[Source]) -> Vec<String> {
    let uses = sources.iter().flat_map(|source| uses(source, banned));
    uses.map(|(source, word)| format!("{}: says {}", place(source, word.line), word.text))
        .collect()
}

pub(crate) fn unsafe_outside(files: &[&str], sources: &[Source]) -> Vec<String> {
    let strangers = sources
        .iter()
        .filter(|source| !files.contains(&source.path.as_str()));
    let uses = strangers.flat_map(|source| uses(source, &["unsafe"]));
    uses.map(|(source, word)| {
        format!(
            "{}: unsafe, in a file that is not listed for it",
            place(source, word.line)
        )
    })
    .collect()
}

/// Marks of unfinished work, in comments and strings too.
pub(crate) fn leftovers(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        for (at, line) in source.text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(mark) = words.find(|word| LEFT_FOR_LATER.contains(word)) {
                faults.push(format!("{}: left over: {mark}", place(source, at + 1)));
            }
        }
        let calls = source.words.windows(2).filter(|w| w[1].text == "!");
        let unfinished = calls.filter(|w| UNFINISHED_MACROS.contains(&w[0].text.as_str()));
        faults.extend(
            unfinished.map(|w| format!("{}: left over: {}!", place(source, w[0].line), w[0].text)),
        );
    }
    faults
}

/// Files that do not open with `//!`.
pub(crate) fn undocumented_files(sources: &[Source]) -> Vec<String> {
    let silent = sources
        .iter()
        .filter(|source| !source.text.trim_start().starts_with("//!"));
    silent
        .map(|source| {
            format!(
                "src/{}: does not say what it is; open it with `//!`",
                source.path
            )
        })
        .collect()
}

fn uses<'a>(source: &'a Source, names: &[&str]) -> Vec<(&'a Source, &'a Word)> {
    let found = source
        .words
        .iter()
        .filter(|word| names.contains(&word.text.as_str()));
    found.map(|word| (source, word)).collect()
}

fn place(source: &Source, line: usize) -> String {
    format!("src/{}:{line}", source.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOMES: &[Home] = &[
        Home {
            words: &["mio", "socket2"],
            place: "transport/system/",
            why: "it is",
        },
        Home {
            words: &["SystemTime"],
            place: "clock.rs",
            why: "it is",
        },
    ];

    fn one(path: &str, text: &str) -> Vec<Source> {
        vec![Source::new(path, text)]
    }

    #[test]
    fn a_word_outside_its_home_is_found() {
        for path in ["transport/worker.rs", "transport/system.rs", "server.rs"] {
            let faults = astray(HOMES, &one(path, "//! Like mio.\nuse mio::Poll; // mio"));
            assert_eq!(
                faults,
                [format!(
                    "src/{path}:2: names mio, whose home is src/transport/system/: it is"
                )]
            );
        }
        assert_eq!(
            astray(
                HOMES,
                &one("a.rs", "fn f(s: socket2::Socket, t: SystemTime) {}")
            )
            .len(),
            2
        );
    }

    #[test]
    fn a_word_at_home_or_in_a_comment_is_no_fault() {
        assert_eq!(
            astray(
                HOMES,
                &one(
                    "transport/system/poll.rs",
                    "use mio::Poll; use socket2::Socket;"
                )
            ),
            [""; 0]
        );
        assert_eq!(
            astray(HOMES, &one("clock.rs", "use std::time::SystemTime;")),
            [""; 0]
        );
        assert_eq!(
            astray(
                HOMES,
                &one("a.rs", "//! mio\nlet miow = \"mio\"; /* mio::Poll */")
            ),
            [""; 0]
        );
    }

    #[test]
    fn banned_words_are_found() {
        let text = "/// As in tokio.\nasync fn f() { g().await }\nuse tokio::net;";
        let faults = named(&["async", "await", "tokio"], &one("a.rs", text));
        assert_eq!(
            faults,
            [
                "src/a.rs:2: says async",
                "src/a.rs:2: says await",
                "src/a.rs:3: says tokio"
            ]
        );
    }

    #[test]
    fn unsafe_is_found_unless_listed() {
        let sources = one("a.rs", "#![deny(unsafe_code)]\nunsafe { f() }");
        let fault = "src/a.rs:2: unsafe, in a file that is not listed for it";
        assert_eq!(unsafe_outside(&[], &sources), [fault]);
        assert_eq!(unsafe_outside(&["a.rs"], &sources), [""; 0]);
    }

    #[test]
    fn leftovers_are_found() {
        let text = "// TODO: later\nlet a = dbg!(1);\n/* FIXME */ todo!()\nlet x = \"XXX\";";
        let mut faults = leftovers(&one("a.rs", text));
        faults.sort();
        let expected = [
            "1: left over: TODO",
            "2: left over: dbg!",
            "3: left over: FIXME",
            "3: left over: todo!",
        ];
        assert_eq!(
            faults[..4],
            expected.map(|fault| format!("src/a.rs:{fault}"))
        );
        assert_eq!(faults[4..], ["src/a.rs:4: left over: XXX"]);
        assert_eq!(
            leftovers(&one("a.rs", "// a todo list, MASTODON, XXXL\nlet dbg = 1;")),
            [""; 0]
        );
    }

    #[test]
    fn a_file_without_module_docs_is_found() {
        assert_eq!(undocumented_files(&one("a.rs", "//! A.\nuse b;")), [""; 0]);
        for text in ["use b;", "// A.\n//! A.", "/// A.\nuse b;", ""] {
            assert_eq!(undocumented_files(&one("a.rs", text)).len(), 1, "{text}");
        }
    }
}
