//! What the daemons ask the API server for, from its audit log: exact, by who asked and from which node.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;
use testbed::cluster::{Cluster, Spec};

fn path(cluster: &Cluster) -> PathBuf {
    cluster.control_plane().path(Spec::AUDIT_LOG)
}

/// How far the log goes now.
pub(super) fn mark(cluster: &Cluster) -> u64 {
    fs::metadata(path(cluster)).map(|file| file.len()).unwrap_or_default()
}

/// Adds the requests since `mark` of the daemon on the node with that address, by verb and resource.
pub(super) fn count(
    cluster: &Cluster,
    mark: u64,
    node: &str,
    requests: &mut BTreeMap<String, usize>,
) -> Result<()> {
    for event in since(cluster, mark)? {
        if let Some(request) = request(&event, node) {
            *requests.entry(request).or_default() += 1;
        }
    }
    Ok(())
}

/// How long the API server worked on requests since `mark` of that daemon that had been answered by `end`, when a call did: on those
/// the call may have waited. One after the other, as they are made.
pub(super) fn waited(cluster: &Cluster, mark: u64, node: &str, end: SystemTime) -> Result<Duration> {
    let end = Timestamp::try_from(end).context("the time of a call")?;
    let mut waited = Duration::ZERO;
    for event in since(cluster, mark)? {
        // Events are posted when there is time.
        if request(&event, node).is_none_or(|request| request.ends_with(" events")) {
            continue;
        }
        let [received, answered] = times(&event).context("an audit event without its times")?;
        if answered <= end {
            waited += answered.duration_since(received).unsigned_abs();
        }
    }
    Ok(waited)
}

/// When a request came, and when it was answered.
fn times(event: &Value) -> Option<[Timestamp; 2]> {
    let time = |key: &str| event[key].as_str()?.parse().ok();
    Some([time("requestReceivedTimestamp")?, time("stageTimestamp")?])
}

/// What was noted since `mark`.
fn since(cluster: &Cluster, mark: u64) -> Result<Vec<Value>> {
    let path = path(cluster);
    let what = || format!("read {}", path.display());
    let mut file = fs::File::open(&path).with_context(what)?;
    file.seek(SeekFrom::Start(mark)).with_context(what)?;
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(what)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(what)).collect()
}

/// `VERB resource`. A watch is one request for as long as it lasts, not one of a pod's.
fn request(event: &Value, node: &str) -> Option<String> {
    let verb = event["verb"].as_str().filter(|verb| *verb != "watch")?;
    let from = event["sourceIPs"].as_array()?.iter().any(|address| address == node);
    let resource = event["objectRef"]["resource"].as_str()?;
    let part = event["objectRef"]["subresource"].as_str();
    let part = part.map(|part| format!("/{part}")).unwrap_or_default();
    from.then(|| format!("{} {resource}{part}", verb.to_uppercase()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_of_that_node_are_told_by_verb_and_resource() {
        let event = |verb: &str, part: Value| json!({"verb": verb, "sourceIPs": ["10.99.0.12"], "objectRef": {"resource": "pods", "subresource": part}});
        assert_eq!(request(&event("get", Value::Null), "10.99.0.12").as_deref(), Some("GET pods"));
        let patch = event("patch", json!("status"));
        assert_eq!(request(&patch, "10.99.0.12").as_deref(), Some("PATCH pods/status"));
        assert_eq!(request(&patch, "10.99.0.13"), None);
        assert_eq!(request(&event("watch", Value::Null), "10.99.0.12"), None);
    }

    #[test]
    fn a_request_has_two_times() {
        let event = json!({
            "requestReceivedTimestamp": "2026-01-02T03:04:05.999000Z",
            "stageTimestamp": "2026-01-02T03:04:06.004000Z",
        });
        let took = times(&event).map(|[received, answered]| answered.duration_since(received).as_millis());
        assert_eq!(took, Some(5));
    }
}
