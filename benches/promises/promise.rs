//! A promise, and what became of it.

use std::error::Error;
use std::fmt::Display;

/// How much of it is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Short,
    Full,
}

impl Scale {
    pub(crate) fn of<T>(self, short: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }
}

/// Something that the library promises, and how it is put to the test.
pub(crate) struct Promise {
    pub(crate) name: &'static str,
    /// One sentence, with its bound.
    pub(crate) says: &'static str,
    pub(crate) run: fn(Scale) -> Ran,
}

pub(crate) type Ran = Result<Outcome, Box<dyn Error>>;

/// What came of a try; with what was measured, or why nothing was.
#[derive(Clone)]
pub(crate) enum Outcome {
    Held(String),
    Missed(String),
    Skipped(String),
}

impl Outcome {
    pub(crate) fn of(held: bool, measured: impl Display) -> Self {
        if held {
            Self::Held(measured.to_string())
        } else {
            Self::Missed(measured.to_string())
        }
    }

    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Held(_) => "held",
            Self::Missed(_) => "MISSED",
            Self::Skipped(_) => "skipped",
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Held(text) | Self::Missed(text) | Self::Skipped(text) => text,
        }
    }
}
