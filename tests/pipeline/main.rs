//! The pipeline's promises, kept without a socket: everything here runs in a [`Harness`].
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod deadlines;
mod edits;
mod ends;
mod flow;
mod handles;
mod order;
mod pool;
mod timers;
mod upgrade;

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;

use bytes::{Buf, BytesMut};
use netwheel::codec::Codec;
use netwheel::testing::Harness;
use netwheel::{CloseReason, Context, Event, Failure, Flow, Handler, Output, Result, Stage};

/// A codec whose messages are letters, one a byte: a stream reads as it is written. `!` breaks the
/// protocol on its way in and cannot be encoded on its way out.
struct Letters;

impl Codec for Letters {
    type In = char;
    type Out = char;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<char>> {
        if !input.has_remaining() {
            return Ok(None);
        }
        match char::from(input.get_u8()) {
            '!' => Err(Failure::protocol("a letter that is none")),
            letter => Ok(Some(letter)),
        }
    }

    fn encode(&mut self, letter: char, output: &mut Output) -> Result<()> {
        if letter == '!' {
            return Err(Failure::protocol("a letter that cannot be sent"));
        }
        output.put(&[u8::try_from(letter)?]);
        Ok(())
    }

    fn weigh(_: &char) -> usize {
        1
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Display) {
        self.0.borrow_mut().push(what.to_string());
    }

    /// What was noted since this was last asked.
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.borrow_mut()).join(" ")
    }
}

type Cx<'a> = Context<'a, char, char>;

/// A stage, or a handler that answers in capitals; notes all that happens to it and changes nothing.
struct Spy(&'static str, Log);

impl Spy {
    fn note(&self, what: impl Display) {
        self.1.note(format!("{}{what}", self.0));
    }

    fn note_event(&self, event: &Event) {
        match event.user::<&str>() {
            Some(text) => self.note(format!("({text})")),
            None => self.note(format!(".{event:?}")),
        }
    }
}

impl Stage<char, char> for Spy {
    fn on_open(&mut self, _: &mut Cx<'_>) -> Result<()> {
        self.note(".open");
        Ok(())
    }

    fn on_inbound(&mut self, _: &mut Cx<'_>, letter: &mut char) -> Result<Flow> {
        self.note(format!("<{letter}"));
        Ok(Flow::Next)
    }

    fn on_outbound(&mut self, _: &mut Cx<'_>, letter: &mut char) -> Result<Flow> {
        self.note(format!(">{letter}"));
        Ok(Flow::Next)
    }

    fn on_event(&mut self, _: &mut Cx<'_>, event: &Event) -> Result<Flow> {
        self.note_event(event);
        Ok(Flow::Next)
    }

    fn on_removed(&mut self, _: &mut Cx<'_>) {
        self.note(".removed");
    }

    fn on_close(&mut self, _: &mut Cx<'_>, reason: CloseReason) {
        self.note(format!(".close({reason})"));
    }
}

impl Handler<char, char> for Spy {
    fn on_open(&mut self, _: &mut Cx<'_>) -> Result<()> {
        self.note(".open");
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, letter: char) -> Result<()> {
        self.note(format!("<{letter}"));
        cx.write(letter.to_ascii_uppercase())
    }

    fn on_event(&mut self, _: &mut Cx<'_>, event: &Event) -> Result<()> {
        self.note_event(event);
        Ok(())
    }

    fn on_close(&mut self, _: &mut Cx<'_>, reason: CloseReason) {
        self.note(format!(".close({reason})"));
    }
}

/// A stage that is one closure for what comes in.
struct Inward<F>(F);

impl<F> Stage<char, char> for Inward<F>
where
    F: FnMut(&mut Cx<'_>, &mut char) -> Result<Flow> + 'static,
{
    fn on_inbound(&mut self, cx: &mut Cx<'_>, letter: &mut char) -> Result<Flow> {
        (self.0)(cx, letter)
    }
}

/// Ties a closure to the bound that lets its annotations be left out.
fn inward<F>(on_inbound: F) -> Inward<F>
where
    F: FnMut(&mut Cx<'_>, &mut char) -> Result<Flow> + 'static,
{
    Inward(on_inbound)
}

/// A stage that is one closure for what goes out.
struct Outward<F>(F);

impl<F> Stage<char, char> for Outward<F>
where
    F: FnMut(&mut Cx<'_>, &mut char) -> Result<Flow> + 'static,
{
    fn on_outbound(&mut self, cx: &mut Cx<'_>, letter: &mut char) -> Result<Flow> {
        (self.0)(cx, letter)
    }
}

fn outward<F>(on_outbound: F) -> Outward<F>
where
    F: FnMut(&mut Cx<'_>, &mut char) -> Result<Flow> + 'static,
{
    Outward(on_outbound)
}

/// What was sent, as text.
fn sent<In: 'static, Out: 'static>(harness: &mut Harness<In, Out>) -> String {
    String::from_utf8(harness.sent()).unwrap()
}
