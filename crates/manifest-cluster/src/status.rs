//! The status file beside the manifests.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use engine::{ClusterError, Record};
use plan::{PlanEvent, Pod};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// How the name of a status file ends. Such a file is never read as a manifest.
pub(crate) const SUFFIX: &str = ".network-status.json";
/// An old status file longer than this is replaced without a look at it.
const LARGEST: u64 = 2 * 1024 * 1024;

/// What the file holds.
#[derive(Serialize)]
struct StatusFile<'a> {
    namespace: &'a str,
    pod: &'a str,
    #[serde(rename = "networkStatus")]
    network_status: Option<Box<RawValue>>,
    #[serde(serialize_with = "as_kubernetes_does")]
    events: &'a [PlanEvent],
}

fn as_kubernetes_does<S: Serializer>(events: &[PlanEvent], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Event<'a> {
        r#type: &'static str,
        reason: &'a str,
        message: &'a str,
    }
    serializer.collect_seq(events.iter().map(|event| Event {
        r#type: event.kind.as_str(),
        reason: &event.reason,
        message: &event.message,
    }))
}

/// Replaces the pod's status file. What the record leaves alone is kept: the status when it only has events.
pub(crate) fn write(dir: &Path, pod: &Pod, record: &Record) -> Result<(), ClusterError> {
    let attempt = || {
        format!(
            "write the network status of pod {}/{} beside its manifest in {}",
            pod.namespace,
            pod.name,
            dir.display()
        )
    };
    // The name comes from a manifest, which is foreign text, and becomes part of a path.
    let plain = |name: &str| {
        !name.is_empty()
            && name.len() < 100
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    if !plain(&pod.namespace) || !plain(&pod.name) || pod.namespace.starts_with('.') {
        let reason =
            "namespace and name must consist of letters, digits, '-' and '.' to become a file's name"
                .to_owned();
        return Err(ClusterError::Config { attempt: attempt(), reason });
    }
    let name = format!("{}.{}{SUFFIX}", pod.namespace, pod.name);
    let path = dir.join(&name);
    let status = match &record.status {
        // As JSON, not as JSON in a string: people read this file. Keys keep their order.
        Some(text) => serde_json::from_str(text).or_else(|_| to_raw_value(text)).ok(),
        None => old_status(&path),
    };
    let file = StatusFile {
        namespace: &pod.namespace,
        pod: &pod.name,
        network_status: status,
        events: &record.events,
    };
    let written = serde_json::to_vec(&file).map_err(io::Error::from).and_then(|json| {
        let mut text = libcni::json::indent(&json);
        text.push(b'\n');
        replace(dir, &name, &text)
    });
    written.map_err(|error| ClusterError::Unavailable { attempt: attempt(), reason: error.to_string() })
}

fn old_status(path: &Path) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Old {
        #[serde(rename = "networkStatus")]
        network_status: Option<Box<RawValue>>,
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice::<Old>(&bytes).ok()?.network_status
}

/// A reader sees the old text or the new one, never a part, also after a crash.
fn replace(dir: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o644).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(name))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
