//! Cuts Rust into words, without comments and strings.

use std::iter::Peekable;
use std::str::CharIndices;

/// An identifier, a number, or a punctuation mark; `::` is one mark.
pub(crate) struct Word {
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// Stands in code that is compiled for tests only.
    pub(crate) test: bool,
}

/// Cuts Rust into words. Knows as much of the language as it takes to pass over comments and strings.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            chars: text.char_indices().peekable(),
            line: 1,
        }
    }

    pub(crate) fn words(mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some((at, c)) = self.next() {
            let line = self.line;
            let text = match c {
                '/' if self.peek() == Some('/') => self.skip_until(|c| c == '\n'),
                '/' if self.peek() == Some('*') => self.skip_block_comment(),
                '"' => self.skip_string(),
                '\'' => self.skip_char_or_lifetime(at),
                ':' if self.peek() == Some(':') => {
                    self.next();
                    Some("::")
                }
                c if c.is_alphanumeric() || c == '_' => self.name_or_literal(at),
                c if c.is_whitespace() => None,
                c => Some(&self.text[at..at + c.len_utf8()]),
            };
            words.extend(text.map(|text| Word {
                text: text.to_owned(),
                line,
                test: false,
            }));
        }
        words
    }

    fn next(&mut self) -> Option<(usize, char)> {
        let next = self.chars.next();
        self.line += usize::from(matches!(next, Some((_, '\n'))));
        next
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|&(_, c)| c)
    }

    fn skip(&mut self, marks: usize) {
        for _ in 0..marks {
            self.next();
        }
    }

    fn skip_until(&mut self, stop: impl Fn(char) -> bool) -> Option<&'a str> {
        while self.peek().is_some_and(|c| !stop(c)) {
            self.next();
        }
        None
    }

    /// Block comments nest. Called between the `/` and the `*`.
    fn skip_block_comment(&mut self) -> Option<&'a str> {
        let mut depth = 0;
        let mut last = '/';
        while let Some((_, c)) = self.next() {
            match (last, c) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    last = c;
                    continue;
                }
            }
            if depth == 0 {
                break;
            }
            last = ' '; // the star of `/*` does not close it, nor the slash of `*/` open the next
        }
        None
    }

    fn skip_string(&mut self) -> Option<&'a str> {
        while let Some((_, c)) = self.next() {
            match c {
                '\\' => drop(self.next()),
                '"' => break,
                _ => {}
            }
        }
        None
    }

    fn skip_char_or_lifetime(&mut self, at: usize) -> Option<&'a str> {
        let mut ahead = self.text[at + 1..].chars();
        let (first, second) = (ahead.next(), ahead.next());
        if first == Some('\\') {
            self.next();
            self.next(); // the escaped mark, which may be a quote
            self.skip_until(|c| c == '\'');
            self.next();
        } else if second == Some('\'') {
            self.next();
            self.next();
        } else {
            self.skip_until(|c| !c.is_alphanumeric() && c != '_');
        }
        None
    }

    /// A name or a number, or a string with a prefix (`b".."`, `r#".."#`).
    fn name_or_literal(&mut self, at: usize) -> Option<&'a str> {
        self.skip_until(|c| !c.is_alphanumeric() && c != '_');
        let end = self.chars.peek().map_or(self.text.len(), |&(end, _)| end);
        let name = &self.text[at..end];
        let rest = &self.text[end..];
        let raw =
            matches!(name, "r" | "br" | "cr") && rest.trim_start_matches('#').starts_with('"');
        if raw {
            return self.skip_raw_string(rest.len() - rest.trim_start_matches('#').len());
        }
        if matches!(name, "b" | "c") && rest.starts_with('"') {
            self.next();
            return self.skip_string();
        }
        Some(name)
    }

    fn skip_raw_string(&mut self, hashes: usize) -> Option<&'a str> {
        self.skip(hashes + 1);
        let end = format!("\"{}", "#".repeat(hashes));
        while let Some((at, _)) = self.next() {
            if self.text[at..].starts_with(&end) {
                self.skip(hashes);
                break;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let words = Lexer::new(text).words();
        let texts: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
        texts.join(" ")
    }

    #[test]
    fn comments_and_strings_are_no_words() {
        assert_eq!(words("a // mio\nb /* mio /* deep */ mio */ c"), "a b c");
        assert_eq!(words("a /**/ b /* ** */ c"), "a b c");
        assert_eq!(
            words(r###"a "mio \" mio" b r"\" c r#"mio " mio"# d b"mio" e br##"m"# io"## f"###),
            "a b c d e f"
        );
        assert_eq!(words(r"a '\'' b '\u{41}' c 'x' d"), "a b c d");
        assert_eq!(words("fn f<'a>(x: &'a str)"), "fn f < > ( x : & str )");
        assert_eq!(words("r#type::x"), "r # type :: x");
    }

    #[test]
    fn words_know_their_lines() {
        let words = Lexer::new("a\n/* \n */ \"\n\" b").words();
        let lines: Vec<_> = words.iter().map(|word| word.line).collect();
        assert_eq!(lines, [1, 4]);
    }
}
