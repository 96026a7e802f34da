//! JSON as Go writes a map of it: keys sorted, no white space. Numbers and strings keep the bytes that their author wrote.

use libcni::Object;
use serde_json::value::RawValue;

/// No configuration nests deeper; serde_json has the same limit for what it reads as a tree.
const DEEPEST: usize = 128;

/// `object` with sorted keys and without white space, on every level.
pub(crate) fn compact(object: &Object) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    write_object(object, &mut text, 0)?;
    Ok(text)
}

/// `value` in the same way.
pub(crate) fn compact_value(value: &RawValue) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    write(value, &mut text, 0)?;
    Ok(text)
}

/// Merges `patch` into `value` (RFC 7396): members of objects one by one, `null` takes a member away, all else replaces. Keys are
/// matched without regard to case, as their reader does.
pub(crate) fn merge(value: &RawValue, patch: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
    merge_within(value, patch, 0)
}

fn merge_within(
    value: &RawValue,
    patch: &RawValue,
    depth: usize,
) -> Result<Box<RawValue>, serde_json::Error> {
    if depth > DEEPEST {
        return Err(too_deep());
    }
    let Ok(patch) = serde_json::from_str::<Object>(patch.get()) else { return Ok(patch.to_owned()) };
    let mut merged = serde_json::from_str::<Object>(value.get()).unwrap_or_default();
    for (key, change) in patch.0 {
        let key = merged.0.keys().find(|found| found.eq_ignore_ascii_case(&key)).cloned().unwrap_or(key);
        if change.get() == "null" {
            merged.0.remove(&key);
            continue;
        }
        let before = merged.get(&key).unwrap_or(RawValue::NULL);
        let after = merge_within(before, &change, depth + 1)?;
        merged.set_raw(&key, after);
    }
    serde_json::value::to_raw_value(&merged)
}

fn write_object(object: &Object, text: &mut String, depth: usize) -> Result<(), serde_json::Error> {
    text.push('{');
    for (index, (key, value)) in object.0.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(key)?);
        text.push(':');
        write(value, text, depth + 1)?;
    }
    text.push('}');
    Ok(())
}

fn write(value: &RawValue, text: &mut String, depth: usize) -> Result<(), serde_json::Error> {
    if depth > DEEPEST {
        return Err(too_deep());
    }
    let raw = value.get().trim();
    if raw.starts_with('{') {
        return write_object(&serde_json::from_str(raw)?, text, depth);
    }
    if !raw.starts_with('[') {
        text.push_str(raw);
        return Ok(());
    }
    let items: Vec<Box<RawValue>> = serde_json::from_str(raw)?;
    text.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(item, text, depth + 1)?;
    }
    text.push(']');
    Ok(())
}

fn too_deep() -> serde_json::Error {
    serde::de::Error::custom("nested too deeply")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_numbers_keep_their_bytes() {
        let object =
            serde_json::from_str(r#"{ "b": [ 1e3, {"z": 1.0, "a": "x y"} ], "a": 18446744073709551616 }"#);
        assert_eq!(
            compact(&object.unwrap()).unwrap(),
            r#"{"a":18446744073709551616,"b":[1e3,{"a":"x y","z":1.0}]}"#
        );
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let object = serde_json::from_str::<Object>(&deep);
        assert!(object.and_then(|object| compact(&object)).is_err());
    }

    #[test]
    fn objects_are_merged_member_by_member_and_all_else_is_replaced() {
        for (value, patch, merged) in [
            (
                "{\"a\":1,\"b\":{\"x\":1,\"y\":2}}",
                "{\"b\":{\"y\":3,\"z\":4}}",
                "{\"a\":1,\"b\":{\"x\":1,\"y\":3,\"z\":4}}",
            ),
            ("{\"list\":[1,2]}", "{\"list\":[3]}", "{\"list\":[3]}"),
            ("{\"a\":1}", "{\"a\":null}", "{}"),
            ("{\"a\":1}", "{\"a\":{\"b\":1,\"c\":null}}", "{\"a\":{\"b\":1}}"),
            ("{\"logLevel\":\"a\"}", "{\"LOGLEVEL\":\"b\"}", "{\"logLevel\":\"b\"}"),
            ("{}", "{\"big\":18446744073709551616}", "{\"big\":18446744073709551616}"),
            ("{\"a\":1}", "7", "7"),
        ] {
            let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).unwrap();
            let result = merge(&raw(value), &raw(patch)).unwrap();
            assert_eq!(compact_value(&result).unwrap(), merged, "{value} with {patch}");
        }
    }
}
