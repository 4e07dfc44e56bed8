//! JSON, as far as figures and lists of connections need it: written, never read.

use std::fmt::{self, Display, Write};

/// A text of JSON that grows; commas stand where they belong by themselves.
#[derive(Debug, Default)]
pub(crate) struct Json {
    text: String,
    /// Whether something stands before what is written next, in the same brackets.
    follows: bool,
}

impl Json {
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.brackets('{', '}', fill);
    }

    pub(crate) fn array(&mut self, fill: impl FnOnce(&mut Self)) {
        self.brackets('[', ']', fill);
    }

    /// A key of an object; its value follows.
    pub(crate) fn key(&mut self, key: &str) -> &mut Self {
        self.string(key);
        self.text.push(':');
        self.follows = false;
        self
    }

    pub(crate) fn number(&mut self, value: u64) {
        self.raw(value);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.raw(value);
    }

    /// Text, escaped.
    pub(crate) fn string(&mut self, value: impl Display) {
        self.raw('"');
        // A string takes all that is written to it.
        let _ = write!(Escaped(&mut self.text), "{value}");
        self.text.push('"');
    }

    fn brackets(&mut self, open: char, close: char, fill: impl FnOnce(&mut Self)) {
        self.raw(open);
        self.follows = false;
        fill(self);
        self.text.push(close);
        self.follows = true;
    }

    fn raw(&mut self, value: impl Display) {
        if std::mem::replace(&mut self.follows, true) {
            self.text.push(',');
        }
        let _ = write!(self.text, "{value}");
    }
}

/// Writes text as it stands between the quotes of a string, also where a page has it in a script.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                // Line breaks for JavaScript, and what could end a script or begin a tag.
                '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{2028}' | '\u{2029}' | '<' | '>' | '&' => {
                    write!(self.0, "\\u{:04x}", u32::from(c))?;
                }
                _ => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(json: Json) -> Value {
        serde_json::from_str(&json.into_text()).expect("it is JSON")
    }

    #[test]
    fn what_is_nested_is_read_as_it_was_written() {
        let mut json = Json::default();
        json.object(|json| {
            json.key("empty").object(|_| {});
            json.key("list").array(|json| {
                json.number(u64::MAX);
                json.array(|_| {});
                json.object(|json| json.key("a").bool(true));
                json.string("last");
            });
            json.key("after").number(1);
        });
        let wanted = json!({"empty": {}, "list": [u64::MAX, [], {"a": true}, "last"], "after": 1});
        assert_eq!(read(json), wanted);
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was_written(text in any::<String>(), key in any::<String>()) {
            let mut json = Json::default();
            json.object(|json| json.key(&key).string(&text));
            prop_assert!(!json.text.contains(['<', '\n']));
            prop_assert_eq!(read(json), json!({key: text}));
        }
    }
}
