//! A file as the rules see it: its words, its module, its imports, and what of it is for tests only.

use crate::lexer::{Lexer, Word};

/// One file of `src/`.
pub(crate) struct Source {
    /// Relative to `src/`, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) words: Vec<Word>,
}

/// One path that a file imports or names, from the crate's root.
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut words = Lexer::new(text).words();
        mark_tests(&mut words);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            words,
        }
    }

    /// The module that the file is: `codec/mod.rs` and `codec.rs` are `[codec]`, `lib.rs` is `[]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let path = self.path.trim_end_matches(".rs");
        let mut module: Vec<_> = path.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        module
    }

    /// Modules in files of their own that this file declares for tests only: `#[cfg(test)] mod tests;`.
    pub(crate) fn test_modules(&self) -> Vec<Vec<String>> {
        let declared = self
            .words
            .windows(3)
            .filter(|w| w[0].test && w[0].text == "mod" && w[2].text == ";");
        declared
            .map(|w| {
                let mut module = self.module();
                module.push(w[1].text.clone());
                module
            })
            .collect()
    }

    /// Every path that starts with `crate`, `self` or `super`, in a `use` or in place, outside tests.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        let mut scope = Scope::new(self.module());
        let mut at = 0;
        while at < self.words.len() {
            scope.step(&self.words, at);
            let starts_path = matches!(self.text(at), "crate" | "self" | "super")
                && self.text(at + 1) == "::"
                && (at == 0 || self.text(at - 1) != "::");
            if !starts_path || self.words[at].test {
                at += 1;
                continue;
            }
            let line = self.words[at].line;
            let mut paths = Vec::new();
            at = self.tree(at, scope.module(), &mut paths);
            imports.extend(paths.into_iter().map(|path| Import { path, line }));
        }
        imports
    }

    /// Reads the path or the tree of paths at `at`, which continues `prefix`; answers what follows it.
    fn tree(&self, mut at: usize, mut prefix: Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
        loop {
            match self.text(at) {
                "crate" => prefix.clear(),
                "self" => {}
                "super" => drop(prefix.pop()),
                "{" => return self.branches(at + 1, &prefix, paths),
                name if is_name(name) => prefix.push(name.to_owned()),
                _ => break,
            }
            at += 1;
            if self.text(at) != "::" {
                break;
            }
            at += 1;
        }
        paths.push(prefix);
        at
    }

    /// Reads `a::b, c as d, ..}`, each continuing `prefix`.
    fn branches(&self, mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
        while !matches!(self.text(at), "}" | "") {
            at = self.tree(at, prefix.to_vec(), paths);
            while !matches!(self.text(at), "," | "}" | "") {
                at += 1; // `as name`
            }
            if self.text(at) == "," {
                at += 1;
            }
        }
        at + 1
    }

    fn text(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| &word.text)
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Which module a word stands in: that of the file, or one written in place (`mod x { .. }`).
struct Scope {
    file: Vec<String>,
    inner: Vec<(usize, String)>,
    depth: usize,
}

impl Scope {
    fn new(file: Vec<String>) -> Self {
        Self {
            file,
            inner: Vec::new(),
            depth: 0,
        }
    }

    fn step(&mut self, words: &[Word], at: usize) {
        match words[at].text.as_str() {
            "{" => {
                self.depth += 1;
                if at >= 2 && words[at - 2].text == "mod" {
                    self.inner.push((self.depth, words[at - 1].text.clone()));
                }
            }
            "}" => {
                self.inner.pop_if(|(depth, _)| *depth == self.depth);
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn module(&self) -> Vec<String> {
        let inner = self.inner.iter().map(|(_, name)| name);
        self.file.iter().chain(inner).cloned().collect()
    }
}

/// Marks every item under a `#[cfg(test)]`, and the whole file under a `#![cfg(test)]`.
fn mark_tests(words: &mut [Word]) {
    let mut at = 0;
    while at < words.len() {
        let inner =
            text(words, at) == "#" && text(words, at + 1) == "!" && text(words, at + 2) == "[";
        let outer = text(words, at) == "#" && text(words, at + 1) == "[";
        if !inner && !outer {
            at += 1;
            continue;
        }
        let attribute = at;
        at = closing(words, attribute + 1 + usize::from(inner)) + 1;
        if !is_test_only(&words[attribute..at.min(words.len())]) {
            continue;
        }
        let end = if inner {
            words.len()
        } else {
            item_end(words, at)
        };
        let start = if inner { 0 } else { attribute };
        words[start..end]
            .iter_mut()
            .for_each(|word| word.test = true);
        at = end;
    }
}

/// `cfg(test)` or `cfg(all(test, ..))`; what `not` or `any` may also compile without tests is not.
fn is_test_only(attribute: &[Word]) -> bool {
    let has = |name| attribute.iter().any(|word| word.text == name);
    has("cfg") && has("test") && !has("any") && !has("not")
}

/// Where the item that starts at `at` has ended: behind its `;` or behind its block.
fn item_end(words: &[Word], mut at: usize) -> usize {
    while at < words.len() {
        match text(words, at) {
            ";" => return at + 1,
            "{" => return (closing(words, at) + 1).min(words.len()),
            "}" => return at, // a field or a variant: the block around it ends
            "(" | "[" => at = closing(words, at) + 1,
            _ => at += 1,
        }
    }
    words.len()
}

/// The bracket that closes the one at `open`.
fn closing(words: &[Word], open: usize) -> usize {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate().skip(open) {
        match word.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    words.len()
}

fn text(words: &[Word], at: usize) -> &str {
    words.get(at).map_or("", |word| &word.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside_tests(text: &str) -> String {
        let source = Source::new("x.rs", text);
        source
            .words
            .iter()
            .filter(|word| !word.test)
            .map(|word| word.text.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn imports(path: &str, text: &str) -> Vec<String> {
        Source::new(path, text)
            .imports()
            .iter()
            .map(|import| import.path.join("::"))
            .collect()
    }

    #[test]
    fn a_file_knows_its_module() {
        for (path, module) in [
            ("lib.rs", ""),
            ("codec.rs", "codec"),
            ("codec/mod.rs", "codec"),
            ("a/b.rs", "a::b"),
        ] {
            assert_eq!(Source::new(path, "").module().join("::"), module);
        }
    }

    #[test]
    fn test_code_is_marked() {
        assert_eq!(
            outside_tests("a; #[cfg(test)] mod tests { use x; } b"),
            "a ; b"
        );
        assert_eq!(
            outside_tests("#[cfg(all(test, not_loom))] #[allow(x)] use a::b; c"),
            "c"
        );
        assert_eq!(
            outside_tests("#[cfg(test)] fn f(x: [u8; 2]) -> u8 { { 1 } } c"),
            "c"
        );
        assert_eq!(
            outside_tests("struct S { a: u8, #[cfg(test)] b: u8 } c"),
            "struct S { a : u8 , } c"
        );
        assert_eq!(outside_tests("a #![cfg(test)] b"), "");
        assert_eq!(
            outside_tests("#[cfg(any(test, unix))] a;"),
            "# [ cfg ( any ( test , unix ) ) ] a ;"
        );
        assert_eq!(
            outside_tests("#[cfg(not(test))] a;"),
            "# [ cfg ( not ( test ) ) ] a ;"
        );
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_known() {
        let source = Source::new("wheel.rs", "#[cfg(test)] mod tests; mod part;");
        assert_eq!(source.test_modules(), [["wheel", "tests"]]);
    }

    #[test]
    fn every_way_to_import_is_seen() {
        assert_eq!(imports("a.rs", "use crate::b::C;"), ["b::C"]);
        assert_eq!(
            imports("a.rs", "use crate::{b::{C, d::E as F}, g::*, h};"),
            ["b::C", "b::d::E", "g", "h"]
        );
        assert_eq!(
            imports("a/b.rs", "use super::C; use super::super::d::E;"),
            ["a::C", "d::E"]
        );
        assert_eq!(
            imports("a/b.rs", "use super::{super::c, d};"),
            ["c", "a::d"]
        );
        assert_eq!(imports("a.rs", "use crate::b::{self, C};"), ["b", "b::C"]);
        assert_eq!(
            imports("a.rs", "fn f() -> crate::b::C { crate::d::<u8>::e() }"),
            ["b::C", "d"]
        );
        assert_eq!(
            imports(
                "a.rs",
                "mod inner { use super::B; use crate::c; } use super::d;"
            ),
            ["a::B", "c", "d"]
        );
        assert_eq!(
            imports("a.rs", "pub(crate) fn f() {} pub(super) mod b;"),
            [""; 0]
        );
    }

    #[test]
    fn imports_of_tests_are_not_seen() {
        assert_eq!(
            imports(
                "a.rs",
                "#[cfg(test)] mod tests { use crate::b; use super::*; }"
            ),
            [""; 0]
        );
    }
}
