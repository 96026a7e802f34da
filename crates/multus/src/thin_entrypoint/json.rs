//! JSON as Go writes a map of it: keys sorted, no white space. Numbers and strings keep the bytes that their author wrote.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// No configuration nests deeper; serde_json has the same limit for what it reads as a tree.
const DEEPEST: usize = 128;

/// Members of an object.
pub(crate) type Object = BTreeMap<String, Box<RawValue>>;

/// `object` with sorted keys and without white space, on every level.
pub(crate) fn compact(object: &Object) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    write_object(object, &mut text, 0)?;
    Ok(text)
}

fn write_object(object: &Object, text: &mut String, depth: usize) -> Result<(), serde_json::Error> {
    text.push('{');
    for (index, (key, value)) in object.iter().enumerate() {
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
        return Err(serde::de::Error::custom("nested too deeply"));
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
}
