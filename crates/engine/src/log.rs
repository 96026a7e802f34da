//! Lines for an administrator. The engine says what happened; the binary decides where it goes.

use std::fmt;

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
    /// Reads a `logLevel` key: one of `panic`, `error`, `verbose`, `debug`, in any case (upstream §2.6).
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
    fn levels_are_read_in_any_case_and_ordered() {
        assert_eq!(Level::parse("DeBug"), Some(Level::Debug));
        assert_eq!(Level::parse("info"), None);
        assert!(Level::Panic < Level::Error && Level::Verbose < Level::Debug);
    }
}
