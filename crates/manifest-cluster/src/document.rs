//! One file's text → its documents → the objects in them.
//!
//! A file is cut at its `---` lines before a parser sees it, as kubectl does, so that one malformed document does not take
//! the others with it.

use std::collections::BTreeMap;

use plan::{Nad, NadRef, Pod};
use serde_json::{Map, Value};

const NAD_API_VERSION: &str = "k8s.cni.cncf.io/v1";
const NAD_KIND: &str = "NetworkAttachmentDefinition";
/// More documents than this are not read from one file.
const MOST_DOCUMENTS: usize = 1024;
/// How deep a document may nest. A pod nests about ten deep.
const DEEPEST: usize = 64;
/// Aliases multiply what they name; together they may add this many nodes and bytes, each.
const MOST_REPEATED_NODES: usize = 1000;
const MOST_REPEATED_BYTES: usize = 16 * 1024;
/// An error of the parser longer than this is cut.
const LONGEST_REASON: usize = 400;

/// What a manifest can define here.
#[derive(Debug)]
pub(crate) enum Object {
    Pod(Pod),
    Nad(Nad),
}

/// One document of a file.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    /// `web.yaml, document 2`
    pub(crate) place: String,
    pub(crate) text: &'a str,
    pub(crate) outcome: Result<Vec<Object>, String>,
}

/// Reads all documents of the file called `name`.
pub(crate) fn read<'a>(name: &str, text: &'a str) -> Vec<Document<'a>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json = name.ends_with(".json");
    let pieces = if json { cut_json(text) } else { cut_yaml(text) };
    let parse = if json { parse_json } else { parse_yaml };
    if pieces.len() > MOST_DOCUMENTS {
        let outcome = Err(format!("more than {MOST_DOCUMENTS} documents; use several files"));
        return vec![Document { place: name.to_owned(), text, outcome }];
    }
    let several = pieces.len() > 1;
    pieces
        .into_iter()
        .enumerate()
        .map(|(index, (line, piece))| {
            let place = if several { format!("{name}, document {}", index + 1) } else { name.to_owned() };
            Document { place, text: piece, outcome: parse(line, piece).and_then(|value| objects(&value)) }
        })
        .collect()
}

/// Cuts at lines that begin with `---`. YAML allows such a line nowhere inside a document, not even in a quoted text.
fn cut_yaml(text: &str) -> Vec<(usize, &str)> {
    let mut pieces = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 0, 0);
    for (line, content) in text.split_inclusive('\n').enumerate() {
        let marker = content
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker {
            pieces.push((start_line, &text[start..at]));
            (start, start_line) = (at, line);
        }
        at += content.len();
    }
    pieces.push((start_line, &text[start..]));
    pieces.retain(|(_, piece)| !is_blank(piece));
    pieces
}

/// Nothing but markers, comments and white space.
fn is_blank(piece: &str) -> bool {
    piece.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---" || line == "..."
    })
}

/// JSON values may follow one another. The rest after a malformed one cannot be told apart and goes with it.
fn cut_json(text: &str) -> Vec<(usize, &str)> {
    let mut pieces = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let mut start = 0;
    while let Some(value) = stream.next() {
        let end = if value.is_ok() { stream.byte_offset() } else { text.len() };
        pieces.push((text[..start].matches('\n').count(), &text[start..end]));
        start = end;
        if value.is_err() || pieces.len() > MOST_DOCUMENTS {
            break;
        }
    }
    pieces
}

fn parse_json(line: usize, piece: &str) -> Result<Value, String> {
    serde_json::from_str(piece).map_err(|error| {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let reason = text.strip_suffix(&place).unwrap_or(&text);
        format!("not JSON: line {}: {}", line + error.line(), short(reason))
    })
}

fn parse_yaml(line: usize, piece: &str) -> Result<Value, String> {
    let options = || {
        serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: DEEPEST,
                flow_nesting_limit: DEEPEST,
                max_documents: 1,
                max_anchors: 100,
                max_aliases: 100,
                max_merge_keys: 100,
                max_recorded_anchor_bytes: MOST_REPEATED_BYTES,
                max_recorded_anchor_events: MOST_REPEATED_NODES,
            },
            alias_limits: serde_saphyr::alias_limits! {
                max_total_replayed_events: MOST_REPEATED_NODES,
                max_replay_stack_depth: 8,
            },
            // Only `true` and `false`: a pod may be called `n` or `on`.
            strict_booleans: true,
            with_snippet: false,
        }
    };
    let parse = |text: &str| serde_saphyr::from_str_with_options::<Value>(text, options());
    parse(piece).map_err(|_| {
        // Once more behind as many empty lines as precede it in the file, so that the error counts lines as an editor does.
        let padded = format!("{}{piece}", "\n".repeat(line));
        let reason =
            parse(&padded).err().map_or_else(String::new, |error| error.without_snippet().to_string());
        format!("not YAML: {}", short(&reason))
    })
}

fn short(reason: &str) -> String {
    let one_line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}...", &one_line[..end]),
        None => one_line,
    }
}

/// The pods and NADs in a document; a `List`, as `kubectl get -o yaml` writes it, holds several. Other kinds are none of ours.
fn objects(value: &Value) -> Result<Vec<Object>, String> {
    let Some(object) = value.as_object() else { return Err("not a Kubernetes object".to_owned()) };
    if object.get("kind").and_then(Value::as_str) != Some("List") {
        return Ok(self::object(object)?.into_iter().collect());
    }
    let items = object.get("items").and_then(Value::as_array).ok_or("a List without items")?;
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let item =
            item.as_object().ok_or_else(|| format!("item {} is not a Kubernetes object", index + 1))?;
        found.extend(self::object(item).map_err(|reason| format!("item {}: {reason}", index + 1))?);
    }
    Ok(found)
}

fn object(object: &Map<String, Value>) -> Result<Option<Object>, String> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).ok_or_else(|| format!("it has no {key}"));
    let kind = text("kind")?;
    let expected = match kind {
        "Pod" => "v1",
        NAD_KIND => NAD_API_VERSION,
        _ => return Ok(None),
    };
    let version = text("apiVersion")?;
    if version != expected {
        return Err(format!("the apiVersion of a {kind} is {expected:?}, not {version:?}"));
    }
    let metadata = object
        .get("metadata")
        .and_then(Value::as_object)
        .ok_or_else(|| format!("the {kind} has no metadata"))?;
    let optional = |key: &str| match metadata.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("metadata.{key} of the {kind} is not a string; put quotes around it")),
    };
    let name = optional("name")?.ok_or_else(|| format!("the {kind} has no metadata.name"))?;
    let namespace = optional("namespace")?.unwrap_or_else(|| "default".to_owned());
    let annotations = annotations(metadata).map_err(|reason| format!("{kind} {name:?}: {reason}"))?;
    if kind == "Pod" {
        return Ok(Some(Object::Pod(Pod::new(namespace, name, optional("uid")?, annotations))));
    }
    let config = config(object).map_err(|reason| format!("{kind} {name:?}: {reason}"))?;
    Ok(Some(Object::Nad(Nad::new(NadRef::new(namespace, name), config, annotations))))
}

fn annotations(metadata: &Map<String, Value>) -> Result<BTreeMap<String, String>, String> {
    let map = match metadata.get("annotations") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(map)) => map,
        Some(_) => return Err("metadata.annotations is not a mapping".to_owned()),
    };
    map.iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key.clone(), text.clone())),
            _ => Err(format!(
                "the annotation {key} is not a string; put quotes around its value, or begin it with `|`"
            )),
        })
        .collect()
}

fn config(object: &Map<String, Value>) -> Result<String, String> {
    match object.get("spec") {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::Object(spec)) => match spec.get("config") {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(
                "spec.config is not a string but YAML of its own; write `config: |` and the JSON below it"
                    .to_owned(),
            ),
        },
        Some(_) => Err("spec is not a mapping".to_owned()),
    }
}
