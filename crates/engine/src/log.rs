//! Lines for an administrator. The engine says what happened; the binary decides where it goes.
//!
//! Much of what is said was written by others: pods' authors, plugins, whoever speaks to the daemon. [`printable()`] and [`bounded()`]
//! keep that within its line.

use std::borrow::Cow;
use std::fmt;

/// The longest line of a log. Container runtimes cut there, and would make several lines of it.
pub const LONGEST_LINE: usize = 16 << 10;

/// `text` with all that would begin a new line, move a terminal's cursor or turn the direction of writing shown in Rust's escapes.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let moves = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(moves) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if moves(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The beginning of `text` that fits into so many bytes, an ellipsis that says that there was more included.
#[must_use]
pub fn bounded(text: &str, bytes: usize) -> Cow<'_, str> {
    const MORE: &str = "…";
    if text.len() <= bytes {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(bytes.saturating_sub(MORE.len()));
    Cow::Owned(format!("{}{MORE}", &text[..end]))
}

/// How much a line matters, least first. A log of level `L` shows the lines whose level is `L` or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The program cannot go on.
    Panic,
    /// Something failed, or is not as it should be.
    Error,
    /// What was done.
    Verbose,
    /// Why it was done so.
    Debug,
}

impl Level {
    /// Reads a `logLevel` key: one of `panic`, `error`, `verbose`, `debug`, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Panic, Self::Error, Self::Verbose, Self::Debug]
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text))
    }

    /// The word that a log line shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Verbose => "verbose",
            Self::Debug => "debug",
        }
    }
}

/// What a line is about; parts that are not known are empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// The container ID.
    pub sandbox: &'a str,
    /// The pod, `namespace/name`.
    pub pod: &'a str,
    /// The network or networks.
    pub network: &'a str,
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in [("pod", self.pod), ("sandbox", self.sandbox), ("network", self.network)] {
            if !value.is_empty() {
                // Quoted as Go would, for what a client sends here must not begin a line of its own.
                write!(f, "{key}={value:?} ")?;
            }
        }
        Ok(())
    }
}

/// A place where log lines go.
pub trait Log {
    /// Writes one line. Must not fail: a call that did its work is not undone because nobody could read about it.
    fn line(&self, level: Level, text: fmt::Arguments<'_>);

    /// Writes a line about a pod, a sandbox or a network. A log with fields of its own keeps them apart from the text.
    fn about(&self, level: Level, about: About<'_>, text: fmt::Arguments<'_>) {
        self.line(level, format_args!("{about}{text}"));
    }
}

/// Drops every line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Log for Silent {
    fn line(&self, _: Level, _: fmt::Arguments<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_is_about_cannot_begin_another_line() {
        let about = About { sandbox: "", pod: "a/b\n2026 [panic] forged", network: "n" };
        assert_eq!(about.to_string(), "pod=\"a/b\\n2026 [panic] forged\" network=\"n\" ");
    }

    #[test]
    fn whatever_moves_a_cursor_is_shown_and_all_else_is_left() {
        assert!(matches!(printable("grün \u{1f600} \\n"), Cow::Borrowed(_)));
        let hostile = "a\nb\r\tc\u{1b}[2Jd\u{7f}e\u{9b}31mf\u{202e}g\u{2028}h\0";
        assert_eq!(
            printable(hostile),
            "a\\nb\\r\\tc\\u{1b}[2Jd\\u{7f}e\\u{9b}31mf\\u{202e}g\\u{2028}h\\u{0}"
        );
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(bounded("abc", 3), "abc");
        assert_eq!(bounded("abcdef", 5), "ab…");
        assert_eq!(bounded("ääää", 6), "ä…");
        assert_eq!(bounded("abc", 1).len(), 3, "no less than the ellipsis");
    }

    #[test]
    fn levels_are_read_in_any_case_and_ordered() {
        assert_eq!(Level::parse("DeBug"), Some(Level::Debug));
        assert_eq!(Level::parse("info"), None);
        assert!(Level::Panic < Level::Error && Level::Verbose < Level::Debug);
    }
}
