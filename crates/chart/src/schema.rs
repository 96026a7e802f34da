//! `values.schema.json`, made of `values.yaml`. Draft 07, which Helm 3 and 4 both take, and closed: a wrong key is an error.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::values::Entry;

/// Makes the schema. `renamed` are keys that are let through, since the chart's own error names the key to use.
///
/// # Errors
/// When what a list or a map may hold is not annotated.
pub fn of(entries: &[Entry], renamed: &Map<String, Value>) -> Result<Value> {
    let mut root = object(entries)?;
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("Values of the chart multus");
    root["properties"]["enabled"] =
        json!({"type": "boolean", "description": "For a main chart's `condition: multus.enabled`"});
    // For YAML anchors.
    root["patternProperties"] = json!({"^x-": {}});
    for (key, instead) in renamed {
        let instead = instead.as_str().unwrap_or_default();
        let path: Vec<&str> = key.split('.').collect();
        let_through(&mut root, &path, instead).with_context(|| format!("let {key} through"))?;
    }
    Ok(root)
}

fn object(entries: &[Entry]) -> Result<Value> {
    let mut properties = Map::new();
    for entry in entries {
        let schema = value(entry).with_context(|| entry.key.clone())?;
        properties.insert(entry.key.clone(), schema);
    }
    Ok(json!({"type": "object", "additionalProperties": false, "properties": properties}))
}

fn value(entry: &Entry) -> Result<Value> {
    let mut schema = if entry.description.is_none() {
        object(&entry.children)?
    } else {
        let kind = kind(&entry.default)?;
        let limit = match kind {
            "object" => Some("additionalProperties"),
            "array" => Some("items"),
            _ => None,
        };
        if let Some(limit) = limit.filter(|limit| !entry.annotation.contains_key(*limit)) {
            bail!("@schema has to say {limit}");
        }
        json!({"type": kind, "description": entry.description, "default": entry.default})
    };
    for (keyword, wanted) in &entry.annotation {
        schema[keyword] = wanted.clone();
    }
    Ok(schema)
}

fn kind(default: &Value) -> Result<&'static str> {
    Ok(match default {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Number(_) => "integer",
        Value::Null => bail!("the default is null, which tells no type"),
    })
}

/// Any value at `path`; sections of others are as closed as ours.
fn let_through(schema: &mut Value, path: &[&str], instead: &str) -> Result<()> {
    let [key, below @ ..] = path else { bail!("there is no key") };
    let properties = schema["properties"].as_object_mut().context("this is no section")?;
    if below.is_empty() {
        let refused = json!({"description": format!("Not here: set {instead}")});
        return match properties.insert((*key).to_owned(), refused) {
            None => Ok(()),
            Some(_) => bail!("it is a value of this chart, or there twice"),
        };
    }
    let section = properties.entry(*key).or_insert_with(
        || json!({"type": ["object", "null"], "additionalProperties": false, "properties": {}}),
    );
    let_through(section, below, instead)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::values;

    fn schema(text: &str, renamed: &Value) -> Result<Value> {
        of(&values::read(text).unwrap(), renamed.as_object().unwrap())
    }

    #[test]
    fn every_section_is_closed_and_anchors_are_let_through() {
        let schema = schema("a:\n  # -- B\n  b: x\n", &json!({})).unwrap();
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["a"]["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["a"]["properties"]["b"]["type"], json!("string"));
        assert!(schema["patternProperties"].get("^x-").is_some());
    }

    #[test]
    fn keys_of_other_charts_are_let_through_where_they_stand() {
        let renamed = json!({"a.old": "a.b", "paths.x": "a.b", "top": "a.b"});
        let schema = schema("a:\n  # -- B\n  b: x\n", &renamed).unwrap();
        assert!(schema["properties"]["a"]["properties"].get("old").is_some());
        assert!(schema["properties"]["paths"]["properties"].get("x").is_some());
        assert_eq!(schema["properties"]["paths"]["additionalProperties"], json!(false));
        assert!(schema["properties"].get("top").is_some());
    }

    #[test]
    fn a_value_is_never_taken_for_a_renamed_one() {
        assert!(schema("a:\n  # -- B\n  b: x\n", &json!({"a.b": "c"})).is_err());
    }

    #[test]
    fn lists_and_maps_say_what_they_hold() {
        assert!(format!("{:#}", schema("# -- A\na: []\n", &json!({})).unwrap_err()).contains("items"));
    }
}
