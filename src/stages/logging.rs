//! What passes, for people.

use std::fmt::{self, Debug, Display, Write};

use log::{Level, log, log_enabled};

use crate::error::{CloseReason, Result};
use crate::pipeline::{Context, Event, Flow, Stage};

/// Bytes of a message that are shown unless told otherwise: a line or two.
const SHOWN_BYTES: usize = 256;

type Show<M> = fn(&M, usize, &mut fmt::Formatter<'_>) -> fmt::Result;

/// Writes what passes its place to the log: open, messages both ways, events, close.
///
/// Each line goes to the target `netwheel::stages`, at the level asked for, and names the connection. What a peer
/// sent is shown as hexadecimal or as text, and reaches no terminal raw: control characters are escaped. Long messages are
/// cut, with their length told.
///
/// Threads: the connection's worker. Cost: where the level is off, one comparison a message; else the formatting and
/// the logger. Limit: 256 bytes of a message are shown unless [`shown_bytes`](Self::shown_bytes) says otherwise.
///
/// ```
/// use log::Level;
/// use netwheel::{Pipeline, codec::LengthField, stages::Logging};
///
/// let pipeline = Pipeline::new(LengthField::u32())
///     .stage("log", Logging::hex(Level::Debug))
///     .handle(|cx, frame| cx.write(frame));
/// # let _ = pipeline;
/// ```
#[must_use]
pub struct Logging<In, Out> {
    level: Level,
    shown: usize,
    show_in: Show<In>,
    show_out: Show<Out>,
}

impl<In: AsRef<[u8]>, Out: AsRef<[u8]>> Logging<In, Out> {
    /// Shows bytes as hexadecimal.
    pub fn hex(level: Level) -> Self {
        Self::with(level, hex, hex)
    }

    /// Shows bytes as text, with what is none escaped.
    pub fn text(level: Level) -> Self {
        Self::with(level, text, text)
    }
}

impl<In: Debug, Out: Debug> Logging<In, Out> {
    /// Shows messages by their `Debug`.
    pub fn debug(level: Level) -> Self {
        Self::with(level, debug, debug)
    }
}

impl<In, Out> Logging<In, Out> {
    fn with(level: Level, show_in: Show<In>, show_out: Show<Out>) -> Self {
        Self {
            level,
            shown: SHOWN_BYTES,
            show_in,
            show_out,
        }
    }

    /// Shows so many bytes of a message; by `Debug`, so many characters.
    pub fn shown_bytes(mut self, count: usize) -> Self {
        self.shown = count;
        self
    }
}

impl<In: 'static, Out: 'static> Logging<In, Out> {
    fn say(&self, cx: &Context<'_, In, Out>, what: &dyn Display) {
        log!(target: "netwheel::stages", self.level, "{} {}: {what}", cx.id(), cx.peer());
    }

    fn show<M>(&self, cx: &Context<'_, In, Out>, way: &str, message: &M, show: Show<M>) {
        if log_enabled!(target: "netwheel::stages", self.level) {
            let shown = Shown {
                message,
                show,
                count: self.shown,
            };
            self.say(cx, &format_args!("{way} {shown}"));
        }
    }
}

impl<In: 'static, Out: 'static> Stage<In, Out> for Logging<In, Out> {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        self.say(cx, &"open");
        Ok(())
    }

    fn on_inbound(&mut self, cx: &mut Context<'_, In, Out>, message: &mut In) -> Result<Flow> {
        self.show(cx, "in", message, self.show_in);
        Ok(Flow::Next)
    }

    fn on_outbound(&mut self, cx: &mut Context<'_, In, Out>, message: &mut Out) -> Result<Flow> {
        self.show(cx, "out", message, self.show_out);
        Ok(Flow::Next)
    }

    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<Flow> {
        self.say(cx, &format_args!("{event:?}"));
        Ok(Flow::Next)
    }

    fn on_removed(&mut self, cx: &mut Context<'_, In, Out>) {
        self.say(cx, &"logged no more");
    }

    fn on_close(&mut self, cx: &mut Context<'_, In, Out>, reason: CloseReason) {
        self.say(cx, &format_args!("closed: {reason}"));
    }
}

/// A message on its way into a line.
struct Shown<'a, M> {
    message: &'a M,
    show: Show<M>,
    count: usize,
}

impl<M> Display for Shown<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.show)(self.message, self.count, f)
    }
}

/// The first bytes, and how many there are in all.
fn cut<'a>(
    bytes: &'a [u8],
    count: usize,
    f: &mut fmt::Formatter<'_>,
) -> Result<&'a [u8], fmt::Error> {
    write!(f, "{} B", bytes.len())?;
    Ok(&bytes[..bytes.len().min(count)])
}

fn end(all: usize, count: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if all > count {
        f.write_str("...")
    } else {
        Ok(())
    }
}

fn hex<M: AsRef<[u8]>>(message: &M, count: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let bytes = message.as_ref();
    for byte in cut(bytes, count, f)? {
        write!(f, " {byte:02x}")?;
    }
    end(bytes.len(), count, f)
}

fn text<M: AsRef<[u8]>>(message: &M, count: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let bytes = message.as_ref();
    let first = cut(bytes, count, f)?;
    Lossy(first).fmt(f)?;
    end(bytes.len(), count, f)
}

/// Bytes as text; what is no text, and control characters, escaped.
struct Lossy<'a>(&'a [u8]);

impl Debug for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" \"")?;
        for chunk in self.0.utf8_chunks() {
            write!(f, "{}", chunk.valid().escape_debug())?;
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        f.write_char('"')
    }
}

fn debug<M: Debug>(message: &M, count: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut escaped = Escaped { f, left: count };
    let _cut = write!(escaped, "{message:?}");
    if escaped.left == 0 {
        f.write_str("...")
    } else {
        Ok(())
    }
}

/// Passes so many characters on, none of them raw that could move a cursor.
struct Escaped<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    left: usize,
}

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            if letter.is_control() {
                write!(self.f, "{}", letter.escape_debug())?;
            } else {
                self.f.write_char(letter)?;
            }
        }
        Ok(())
    }
}

impl<In, Out> Clone for Logging<In, Out> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<In, Out> Debug for Logging<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logging")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<M>(message: &M, show: Show<M>, count: usize) -> String {
        Shown {
            message,
            show,
            count,
        }
        .to_string()
    }

    #[test]
    fn bytes_are_shown_and_cut() {
        let bytes: &[u8] = b"a\x00\xff\r";
        assert_eq!(shown(&bytes, hex, 9), "4 B 61 00 ff 0d");
        assert_eq!(shown(&bytes, hex, 2), "4 B 61 00...");
        assert_eq!(shown(&bytes, text, 9), r#"4 B "a\0\xff\r""#);
        assert_eq!(shown(&bytes, text, 1), r#"4 B "a"..."#);
        assert_eq!(shown(&b"", text, 9), r#"0 B """#);
    }

    #[test]
    fn no_control_character_gets_through() {
        struct Rude;
        impl Debug for Rude {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\x1b[2J\nroot: ok \u{9b}")
            }
        }
        let text = shown(&Rude, debug, 100);
        assert!(!text.contains(char::is_control), "{text:?}");
        assert_eq!(shown(&"abcdef", debug, 3), "\"ab...");
        let bytes: &[u8] = "\x1b[31m\u{9b}é".as_bytes();
        assert_eq!(
            shown(&bytes, super::text, 99),
            "9 B \"\\u{1b}[31m\\u{9b}é\""
        );
    }
}
