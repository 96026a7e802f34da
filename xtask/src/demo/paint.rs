//! Plain text for people: headings, tables, verdicts; colour only on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use crate::say;

/// Where long text is broken.
const WIDTH: usize = 100;

/// Writes the demo's text and counts what is not as it should be.
pub(crate) struct Page {
    colour: bool,
    step: u32,
    /// What went wrong, for the last line.
    pub(crate) faults: Vec<String>,
}

impl Page {
    pub(crate) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, step: 0, faults: Vec::new() }
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(crate) fn heading(&mut self, text: &str) {
        self.step += 1;
        let line = format!("{}. {text}", self.step);
        say("");
        say(&self.painted("1", &line));
        say(&self.painted("2", &"-".repeat(line.chars().count())));
    }

    pub(crate) fn text(&self, text: &str) {
        for line in text.lines() {
            say(&if line.is_empty() { String::new() } else { format!("   {line}") });
        }
    }

    /// Long text, broken at spaces.
    pub(crate) fn paragraph(&self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.text(&line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.text(&line);
    }

    /// One thing that was tried, and whether it is as it should be.
    pub(crate) fn verdict(&mut self, what: &str, outcome: Result<String, String>) {
        let (word, code, more) = match &outcome {
            Ok(more) => ("ok    ", "32", more),
            Err(more) => ("FAILED", "31;1", more),
        };
        say(format!("   {} {what:<46} {more}", self.painted(code, word)).trim_end());
        if let Err(why) = outcome {
            self.faults.push(format!("{what}: {why}"));
        }
    }

    /// Columns as wide as their widest cell. A first cell that repeats is left empty.
    pub(crate) fn table(&self, head: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).chain([head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..head.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head: Vec<_> = head.iter().map(|cell| (*cell).to_owned()).collect();
        say(&format!("   {}", self.painted("2", &line(&head))));
        let mut last = "";
        for row in rows {
            let mut shown = row.clone();
            if shown[0] == last {
                shown[0].clear();
            }
            last = &row[0];
            say(&format!("   {}", line(&shown)));
        }
    }
}

pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
