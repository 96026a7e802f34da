//! `values.yaml` with its comments.
//!
//! helm-docs makes the table in the README of the text after `# --`; what stands between two `# @schema` before it is for
//! [`crate::schema`]. A key that has such a text is a value; one without is a section with values below.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

/// A value, or a section of them.
#[derive(Debug)]
pub struct Entry {
    /// Its own name.
    pub key: String,
    /// What is said of it; `None` for a section.
    pub description: Option<String>,
    /// What is allowed, beyond what follows from the default.
    pub annotation: Map<String, Value>,
    /// What it is when nobody sets it.
    pub default: Value,
    /// In a section.
    pub children: Vec<Entry>,
}

impl Entry {
    /// All values in it, with their full names.
    pub fn walk<'a>(&'a self, above: &str, found: &mut Vec<(String, &'a Entry)>) {
        let path = if above.is_empty() { self.key.clone() } else { format!("{above}.{}", self.key) };
        if self.description.is_some() {
            found.push((path.clone(), self));
        }
        for child in &self.children {
            child.walk(&path, found);
        }
    }
}

/// All values below `entries`, with their full names.
#[must_use]
pub fn flat(entries: &[Entry]) -> Vec<(String, &Entry)> {
    let mut found = Vec::new();
    for entry in entries {
        entry.walk("", &mut found);
    }
    found
}

/// Reads a values file.
///
/// # Errors
/// When it is no YAML, or a key has neither a text nor keys below.
pub fn read(text: &str) -> Result<Vec<Entry>> {
    let defaults: Value = serde_saphyr::from_str(text).context("read the values as YAML")?;
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    let entries = section(&lines, &mut at, 0, &defaults)?;
    ensure!(at == lines.len(), "line {}: this is indented in a way that is not understood", at + 1);
    Ok(entries)
}

/// The keys that are indented by `indent`, up to the first line that is indented by less.
fn section(lines: &[&str], at: &mut usize, indent: usize, defaults: &Value) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut comments: Vec<&str> = Vec::new();
    while let Some(line) = lines.get(*at) {
        let content = line.trim_start();
        let found = line.len() - content.len();
        if content.is_empty() {
            comments.clear();
            *at += 1;
            continue;
        }
        if found < indent {
            break;
        }
        ensure!(found == indent, "line {}: indented by {found} where {indent} are expected", *at + 1);
        *at += 1;
        if let Some(comment) = content.strip_prefix('#') {
            comments.push(comment);
            continue;
        }
        let (key, _) = content.split_once(':').with_context(|| format!("line {}: no key", *at))?;
        let (description, annotation) =
            explain(&std::mem::take(&mut comments)).with_context(|| format!("the comments of {key}"))?;
        let default = defaults.get(key).cloned().with_context(|| format!("{key} has no default"))?;
        let children = if description.is_some() {
            skip(lines, at, indent);
            Vec::new()
        } else {
            section(lines, at, indent + 2, &default)?
        };
        if description.is_none() && children.is_empty() {
            bail!("line {}: {key} has no comment that begins with \"# --\"", *at);
        }
        entries.push(Entry { key: key.to_owned(), description, annotation, default, children });
    }
    Ok(entries)
}

/// Passes over the lines of a value that takes several.
fn skip(lines: &[&str], at: &mut usize, indent: usize) {
    while lines.get(*at).is_some_and(|line| {
        let content = line.trim_start();
        !content.is_empty() && (line.len() - content.len() > indent || content.starts_with("- "))
    }) {
        *at += 1;
    }
}

/// The text and the annotation in the comments before a key.
fn explain(comments: &[&str]) -> Result<(Option<String>, Map<String, Value>)> {
    let mut annotation = String::new();
    let mut description: Option<String> = None;
    let mut inside = false;
    for comment in comments {
        let text = comment.strip_prefix(' ').unwrap_or(comment);
        if text.trim() == "@schema" {
            inside = !inside;
        } else if inside {
            annotation.push_str(text);
            annotation.push('\n');
        } else if let Some(first) = text.strip_prefix("-- ") {
            description = Some(first.to_owned());
        } else if let Some(description) = &mut description {
            description.push(' ');
            description.push_str(text);
        }
    }
    ensure!(!inside, "an @schema is not closed");
    if annotation.is_empty() {
        return Ok((description, Map::new()));
    }
    let annotation = serde_saphyr::from_str(&annotation).context("read what stands between two @schema")?;
    Ok((description, annotation))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const TEXT: &str = "\
# Not of any key.

# @schema
# enum: [a, b]
# @schema
# -- First
# line
mode: a

section:
  # -- Within
  on: true
  # -- A list
  list:
    - x: 1
      y: 2
";

    #[test]
    fn texts_annotations_and_defaults_belong_to_their_keys() {
        let entries = read(TEXT).unwrap();
        let all = flat(&entries);
        let names: Vec<_> = all.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(names, ["mode", "section.on", "section.list"]);
        assert_eq!(all[0].1.description.as_deref(), Some("First line"));
        assert_eq!(all[0].1.annotation["enum"], serde_json::json!(["a", "b"]));
        assert_eq!(all[2].1.default, serde_json::json!([{"x": 1, "y": 2}]));
    }

    #[test]
    fn a_key_that_nobody_explained_is_an_error() {
        assert!(format!("{:#}", read("a: 1\n").unwrap_err()).contains('a'));
    }
}
