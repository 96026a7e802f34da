//! Comparing what was seen with what is expected.
//!
//! Objects may have more members than expected, unless the expectation has the member `"=": true`; arrays must have
//! the same length. Strings with a meaning: `<any>`, `<absent>` (of a member), `~text` (contains), `!~text` (does not contain).

use serde_json::Value;

/// Nothing when it fits; else where it does not, and why.
pub(super) fn mismatch(expected: &Value, seen: &Value) -> Option<String> {
    walk(expected, seen, "")
}

/// The same with no more members allowed anywhere.
pub(super) fn mismatch_exact(expected: &Value, seen: &Value) -> Option<String> {
    if expected == seen { None } else { walk(&closed(expected), seen, "") }
}

/// `expected` with all its objects closed.
fn closed(expected: &Value) -> Value {
    match expected {
        Value::Array(values) => values.iter().map(closed).collect(),
        Value::Object(object) => {
            let mut object: serde_json::Map<_, _> =
                object.iter().map(|(key, value)| (key.clone(), closed(value))).collect();
            object.insert("=".to_owned(), true.into());
            Value::Object(object)
        }
        other => other.clone(),
    }
}

fn walk(expected: &Value, seen: &Value, at: &str) -> Option<String> {
    match (expected, seen) {
        (Value::String(text), seen) => string(text, seen, at),
        (Value::Array(expected), Value::Array(seen)) => {
            if expected.len() != seen.len() {
                return Some(format!(
                    "{at}: {} elements expected, seen {}",
                    expected.len(),
                    Value::from(seen.clone())
                ));
            }
            expected
                .iter()
                .zip(seen)
                .enumerate()
                .find_map(|(index, (expected, seen))| walk(expected, seen, &format!("{at}[{index}]")))
        }
        (Value::Object(expected), Value::Object(seen)) => {
            for (key, expected) in expected.iter().filter(|(key, _)| *key != "=") {
                let at = format!("{at}.{key}");
                match seen.get(key) {
                    Some(_) if expected == "<absent>" => {
                        return Some(format!("{at}: must not be there, is {}", seen[key]));
                    }
                    None if expected == "<absent>" => {}
                    None => return Some(format!("{at}: missing, expected {expected}")),
                    Some(seen) => {
                        if let Some(why) = walk(expected, seen, &at) {
                            return Some(why);
                        }
                    }
                }
            }
            let closed = expected.get("=") == Some(&Value::Bool(true));
            let more = seen.keys().find(|key| closed && !expected.contains_key(*key));
            more.map(|key| format!("{at}.{key}: not expected, seen {}", seen[key]))
        }
        (expected, seen) if expected == seen => None,
        (expected, seen) => Some(format!("{at}: expected {expected}, seen {seen}")),
    }
}

fn string(expected: &str, seen: &Value, at: &str) -> Option<String> {
    let text = seen.as_str().map_or_else(|| seen.to_string(), str::to_owned);
    let fits = match expected {
        "<any>" => true,
        _ => match (expected.strip_prefix("!~"), expected.strip_prefix('~')) {
            (Some(part), _) => !text.contains(part),
            (None, Some(part)) => text.contains(part),
            (None, None) => seen.as_str() == Some(expected),
        },
    };
    (!fits).then(|| format!("{at}: expected {expected:?}, seen {seen}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn more_members_are_allowed_unless_closed() {
        assert_eq!(mismatch(&json!({"a": 1}), &json!({"a": 1, "b": 2})), None);
        assert!(mismatch(&json!({"a": 1, "=": true}), &json!({"a": 1, "b": 2})).is_some());
        assert!(mismatch_exact(&json!([{"a": "~x"}]), &json!([{"a": "yxz", "b": 2}])).is_some());
        assert_eq!(mismatch_exact(&json!([{"a": "~x"}]), &json!([{"a": "yxz"}])), None);
    }

    #[test]
    fn strings_with_a_meaning() {
        let seen = json!({"a": "some text", "n": 3});
        assert_eq!(mismatch(&json!({"a": "~me te", "n": "<any>", "z": "<absent>"}), &seen), None);
        for wrong in
            [json!({"a": "!~text"}), json!({"n": "<absent>"}), json!({"z": "<any>"}), json!({"n": "3"})]
        {
            assert!(mismatch(&wrong, &seen).is_some(), "{wrong}");
        }
        assert!(mismatch(&json!([1]), &json!([1, 2])).is_some());
    }
}
