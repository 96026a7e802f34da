//! The kubelet's device checkpoint: what it was read from before the pod-resources socket, and still is where that is not there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::Error;

/// Thousands of devices are some hundred kilobytes.
const LARGEST: u64 = 64 << 20;

#[derive(Deserialize)]
struct Checkpoint {
    #[serde(rename = "Data", default)]
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(rename = "PodDeviceEntries", default)]
    entries: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "PodUID", default)]
    pod_uid: String,
    #[serde(rename = "ResourceName", default)]
    resource_name: String,
    /// Device IDs by NUMA node.
    #[serde(rename = "DeviceIDs", default)]
    device_ids: Option<BTreeMap<String, Option<Vec<String>>>>,
}

/// Devices of the pod with this UID: resource name to sorted device IDs.
///
/// # Errors
/// When the file cannot be read, is no checkpoint, or the UID is empty. Texts are upstream's.
pub fn read(path: &Path, pod_uid: &str) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let attempt = || format!("getPodEntries: error reading file {}", path.display());
    let size = fs::metadata(path).map_err(|error| Error::unavailable(attempt(), error))?.len();
    if size > LARGEST {
        return Err(Error::unavailable(attempt(), format!("{size} bytes are too many for a checkpoint")));
    }
    let bytes = fs::read(path).map_err(|error| Error::unavailable(attempt(), error))?;
    parse(&bytes, pod_uid).map_err(|error| match error {
        Error::Unavailable { attempt: part, reason, away } => {
            Error::Unavailable { attempt: attempt(), reason: format!("{part}: {reason}"), away }
        }
        other => other,
    })
}

/// As [`read`], from bytes.
///
/// # Errors
/// When the bytes are no checkpoint, or the UID is empty.
pub fn parse(bytes: &[u8], pod_uid: &str) -> Result<BTreeMap<String, Vec<String>>, Error> {
    if pod_uid.is_empty() {
        return Err(Error::unavailable(
            "GetPodResourceMap",
            "invalid Pod cannot be empty: the runtime gave no K8S_POD_UID to look devices up by",
        ));
    }
    let checkpoint: Checkpoint = serde_json::from_slice(bytes)
        .map_err(|error| Error::unavailable("getPodEntries: error unmarshalling raw bytes", error))?;
    let entries = checkpoint.data.unwrap_or_default().entries.unwrap_or_default();
    let mut devices: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in entries.into_iter().filter(|entry| entry.pod_uid == pod_uid) {
        let ids = entry.device_ids.unwrap_or_default().into_values().flatten().flatten();
        devices.entry(entry.resource_name).or_default().extend(ids);
    }
    devices.values_mut().for_each(|ids| ids.sort());
    Ok(devices)
}

#[cfg(test)]
mod tests;
