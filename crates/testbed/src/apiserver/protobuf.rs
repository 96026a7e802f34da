//! The fields of Go clients' protobuf bodies that matter here: a pod's metadata, and events.
//!
//! Kubernetes puts `k8s\0` in front, then a `runtime.Unknown` whose field 2 is the object. Field numbers are those of
//! `k8s.io/api` and `k8s.io/apimachinery`'s `generated.proto`.

use serde_json::{Map, Value, json};

/// The pod's name, namespace, UID, resource version and annotations; nothing when `body` is not protobuf.
pub(super) fn pod(body: &[u8]) -> Option<Value> {
    let object = object(body)?;
    let meta = bytes(object, 1)?;
    let mut annotations = Map::new();
    for (field, entry) in fields(meta) {
        if field == 12 {
            annotations.insert(text(entry, 1), text(entry, 2).into());
        }
    }
    Some(json!({"metadata": {"name": text(meta, 1), "namespace": text(meta, 3), "uid": text(meta, 5),
                             "resourceVersion": text(meta, 6), "annotations": annotations}}))
}

/// An event of core/v1.
pub(super) fn event(body: &[u8]) -> Option<Value> {
    let object = object(body)?;
    let meta = bytes(object, 1)?;
    let about = bytes(object, 2).unwrap_or_default();
    let source = bytes(object, 5).unwrap_or_default();
    Some(json!({
        "kind": "Event", "apiVersion": "v1",
        "metadata": {"name": text(meta, 1), "namespace": text(meta, 3)},
        "involvedObject": {"kind": text(about, 1), "namespace": text(about, 2), "name": text(about, 3), "uid": text(about, 4)},
        "reason": text(object, 3), "message": text(object, 4),
        "source": {"component": text(source, 1)}, "type": text(object, 9),
    }))
}

fn object(body: &[u8]) -> Option<&[u8]> {
    bytes(body.strip_prefix(b"k8s\0")?, 2)
}

fn text(message: &[u8], field: u64) -> String {
    String::from_utf8_lossy(bytes(message, field).unwrap_or_default()).into_owned()
}

fn bytes(message: &[u8], wanted: u64) -> Option<&[u8]> {
    fields(message).find(|(field, _)| *field == wanted).map(|(_, value)| value)
}

/// Fields with a length; the others are skipped.
fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            let tag = varint(&mut message)?;
            match tag & 7 {
                0 => {
                    varint(&mut message)?;
                }
                1 => message = message.get(8..)?,
                5 => message = message.get(4..)?,
                2 => {
                    let length = usize::try_from(varint(&mut message)?).ok()?;
                    let (value, rest) = message.split_at_checked(length)?;
                    message = rest;
                    return Some((tag >> 3, value));
                }
                _ => return None,
            }
        }
    })
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
