//! The daemon's log: text in upstream's form, or one JSON object a line; on stderr, in a file, or both.
//!
//! No line holds a configuration, a token or an annotation; what others say is kept within its line, and within a length.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use engine::{About, LONGEST_LINE, Level, Log, bounded, printable};
use jiff::Timestamp;
use plugin_process::LogFile;
use serde::Serialize;

use crate::config::LogConfig;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `<time> [<level>] <text>`.
    Text,
    /// `{"time":…,"level":…,"message":…,"pod":…,"sandbox":…,"network":…}`.
    Json,
}

/// Where the lines go.
#[derive(Debug)]
pub struct Lines {
    level: Level,
    format: Format,
    to_stderr: bool,
    file: Option<Mutex<LogFile>>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pod: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sandbox: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    network: &'a str,
}

impl Lines {
    /// The log that is configured. A file that cannot be opened is told on stderr: a node's pods do not wait for a log.
    #[must_use]
    pub fn new(config: &LogConfig) -> Self {
        let mut to_stderr = config.to_stderr;
        let file = config.file.as_ref().and_then(|path| match LogFile::open(path, config.options) {
            Ok(file) => Some(Mutex::new(file)),
            Err(error) => {
                let _ = writeln!(
                    io::stderr(),
                    "multus logging: cannot open log file {}, logging to stderr: {error}",
                    path.display()
                );
                to_stderr = true;
                None
            }
        });
        Self { level: config.level, format: config.format, to_stderr, file }
    }

    fn write(&self, level: Level, about: About<'_>, text: fmt::Arguments<'_>) {
        if level > self.level {
            return;
        }
        let line = line(self.format, Timestamp::now(), level, about, text);
        if self.to_stderr {
            let _ = io::stderr().write_all(line.as_bytes());
        }
        if let Some(file) = &self.file {
            // A full disk costs the line and nothing else.
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).append(&line);
        }
    }
}

fn line(format: Format, now: Timestamp, level: Level, about: About<'_>, text: fmt::Arguments<'_>) -> String {
    let mut line = String::new();
    // Writing to a String cannot fail.
    let _ = match format {
        Format::Text => {
            // What it is about is quoted; what another program says may have several lines, and a line of the log has one.
            let text = format!("{about}{text}");
            writeln!(line, "{now:.0} [{}] {}", level.as_str(), short(&printable(&text)))
        }
        Format::Json => {
            let message = text.to_string();
            let [message, pod, sandbox, network] =
                [message.as_str(), about.pod, about.sandbox, about.network].map(printable);
            // Each part alone: an object that is cut is none.
            let fields = Line {
                time: format!("{now:.3}"),
                level: level.as_str(),
                message: &short(&message),
                pod: &short(&pod),
                sandbox: &short(&sandbox),
                network: &short(&network),
            };
            writeln!(line, "{}", serde_json::to_string(&fields).unwrap_or_default())
        }
    };
    line
}

fn short(text: &str) -> Cow<'_, str> {
    bounded(text, LONGEST_LINE)
}

impl Log for Lines {
    fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        self.write(level, About::default(), text);
    }

    fn about(&self, level: Level, about: About<'_>, text: fmt::Arguments<'_>) {
        self.write(level, about, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: Format, about: About<'_>, text: &str) -> String {
        let now = "2026-01-02T03:04:05.6789Z".parse().unwrap();
        line(format, now, Level::Error, about, format_args!("{text}"))
    }

    #[test]
    fn a_line_names_pod_sandbox_and_network() {
        let about = About { sandbox: "c1", pod: "test/pod", network: "test/lan" };
        assert_eq!(
            shown(Format::Text, about, "it broke"),
            "2026-01-02T03:04:05Z [error] pod=\"test/pod\" sandbox=\"c1\" network=\"test/lan\" it broke\n"
        );
        assert_eq!(
            shown(Format::Json, about, "it broke"),
            "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"error\",\"message\":\"it broke\",\"pod\":\"test/pod\",\"sandbox\":\"c1\",\"network\":\"test/lan\"}\n"
        );
        assert_eq!(shown(Format::Text, About::default(), "x"), "2026-01-02T03:04:05Z [error] x\n");
    }

    #[test]
    fn whatever_others_say_stays_in_its_line_and_moves_no_cursor() {
        let hostile = "a\r\n2026-01-01T00:00:00Z [panic] forged\u{1b}[2J\u{9b}31m\u{202e}\0";
        let about = About { pod: hostile, sandbox: hostile, network: hostile };
        for format in [Format::Text, Format::Json] {
            let line = shown(format, about, hostile);
            let raw: Vec<_> = line.chars().filter(|c| c.is_control() || *c == '\u{202e}').collect();
            assert_eq!(raw, ['\n'], "{line:?}");
            assert!(line.ends_with('\n'));
        }
        // Nor does it when a reader of JSON has taken the object apart.
        let line: serde_json::Value = serde_json::from_str(&shown(Format::Json, about, hostile)).unwrap();
        for key in ["message", "pod", "sandbox", "network"] {
            assert!(!line[key].as_str().unwrap().contains(char::is_control), "{key}: {line}");
        }
    }

    #[test]
    fn a_line_has_a_length_whatever_is_said() {
        let long = "x".repeat(1 << 20);
        let about = About { pod: &long, sandbox: &long, network: &long };
        assert!(shown(Format::Text, about, &long).len() < 2 * LONGEST_LINE);
        let json = shown(Format::Json, about, &long);
        assert!(json.len() < 5 * LONGEST_LINE);
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let config = crate::Config::parse(br#"{"logToStderr":false}"#).unwrap().log;
        let config = LogConfig { file: Some(dir.path().to_owned()), ..config };
        let lines = Lines::new(&config);
        assert!(lines.file.is_none() && lines.to_stderr);
    }
}
