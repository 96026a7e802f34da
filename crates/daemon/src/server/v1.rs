//! Lookups and records of the shim.

use std::time::{Duration, Instant};

use engine::{About, ClusterError, Level, PodLookup, PodRef, Query};
use plan::NadLookup;
use protocol::message::{Envelope, Failure, FailureKind, Found, Lookup, Outcome, Record, Recorded, deadline};
use protocol::{LARGEST_ANSWER, LOOKUP};
use serde::de::DeserializeOwned;

use super::Server;
use super::reply::Reply;
use crate::backend::Backend;

/// How long a lookup may take, however long its caller would wait.
const LONGEST_LOOKUP: Duration = Duration::from_secs(25);
/// How long a record may take.
const LONGEST_RECORD: Duration = Duration::from_secs(10);
/// How much earlier than its caller a call gives up, so that the caller hears why.
const MARGIN: Duration = Duration::from_millis(250);
/// How many NADs one lookup may ask for.
const MOST_NETWORKS: usize = 1024;
/// How many are asked for at once. What is in memory before its size is known is this much.
const AT_ONCE: usize = 8;

/// `POST /v1/lookup`.
pub(super) async fn lookup<B: Backend>(server: &Server<B>, body: Vec<u8>) -> Reply {
    let lookup: Lookup = match read(server, &body) {
        Ok(lookup) => lookup,
        Err(reply) => return reply,
    };
    drop(body);
    let caller = lookup.caller.clone();
    let networks = lookup.networks.iter().map(|nad| format!("{}/{}", nad.namespace, nad.name));
    let networks = networks.collect::<Vec<_>>().join(",");
    let about = About { sandbox: &caller.sandbox, pod: &caller.pod, network: &networks };
    match find(server, lookup).await {
        Ok(reply) => {
            server.log.about(Level::Debug, about, format_args!("looked up for {}", caller.program));
            reply
        }
        Err(Refused::Busy) => server.busy(),
        Err(Refused::Cluster(error)) => refuse(server, about, "lookup", error),
    }
}

/// Why a lookup has no answer.
enum Refused {
    /// There is no room for it now.
    Busy,
    /// The cluster does not say.
    Cluster(ClusterError),
}

impl From<ClusterError> for Refused {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

/// `POST /v1/record`.
pub(super) async fn record<B: Backend>(server: &Server<B>, body: Vec<u8>) -> Reply {
    let record: Record = match read(server, &body) {
        Ok(record) => record,
        Err(reply) => return reply,
    };
    drop(body);
    let version = record.version;
    let caller = record.caller.clone();
    let pod = format!("{}/{}", record.pod.namespace, record.pod.name);
    let about = About { sandbox: &caller.sandbox, pod: &pod, network: "" };
    let until = earlier(record.timeout_millis, LONGEST_RECORD);
    match server.backend.record(record.into(), until).await {
        Ok(recorded) => {
            server.log.about(Level::Debug, about, format_args!("recorded: {recorded:?}"));
            Reply::json(200, &Recorded { version, recorded: recorded.into() })
        }
        Err(error) => refuse(server, about, "record", error),
    }
}

/// Reads a message whose version is served.
fn read<B: Backend, T: DeserializeOwned>(server: &Server<B>, body: &[u8]) -> Result<T, Reply> {
    let malformed = |error: serde_json::Error| {
        server.failure(FailureKind::Malformed, "read the request", error.to_string())
    };
    let Envelope { version } = serde_json::from_slice(body).map_err(malformed)?;
    let versions = server.options.versions;
    if !versions.serve(version) {
        let reason = format!(
            "version {version} of the protocol is not served, {} to {} are",
            versions.oldest, versions.newest
        );
        return Err(server.failure(FailureKind::Version, "", reason));
    }
    serde_json::from_slice(body).map_err(malformed)
}

/// The deadline of a call, a little before its caller's.
fn earlier(timeout_millis: u64, longest: Duration) -> Instant {
    let margin = MARGIN.min(Duration::from_millis(timeout_millis) / 10);
    deadline(timeout_millis, longest) - margin
}

async fn find<B: Backend>(server: &Server<B>, lookup: Lookup) -> Result<Reply, Refused> {
    let until = earlier(lookup.timeout_millis, LONGEST_LOOKUP);
    if lookup.networks.len() > MOST_NETWORKS {
        return Err(too_large(format!("it names {} networks, of {MOST_NETWORKS}", lookup.networks.len())));
    }
    let mut found =
        Found { version: lookup.version, pod: None, networks: Vec::new(), devices: Default::default() };
    let mut pod: Option<PodRef> = lookup.pod.map(Into::into);
    let mut nads = lookup.networks.into_iter().map(Into::into).peekable();
    let mut room = server.budget.take(0).ok_or(Refused::Busy)?;
    let mut size = 0;
    while pod.is_some() || nads.peek().is_some() {
        let asked: Vec<_> = nads.by_ref().take(AT_ONCE).collect();
        let query = Query { pod: pod.take(), nads: asked.clone(), deadline: until };
        let mut answer = server.backend.lookup(query).await?;
        let more = size_of_pod(&answer.pod) + answer.nads.values().map(size_of_nad).sum::<usize>();
        size += more;
        if size > LARGEST_ANSWER {
            return Err(too_large(format!("what it names is larger than {} MiB", LARGEST_ANSWER >> 20)));
        }
        // Twice: as objects, and as the text that is made of them.
        room.merge(server.budget.take(2 * more).ok_or(Refused::Busy)?);
        found.pod = found.pod.or(Outcome::of_pod(answer.pod));
        found.networks.extend(asked.into_iter().map(|nad| {
            let missing = || NadLookup::Failed("the daemon did not look it up".to_owned());
            answer.nads.remove(&nad).unwrap_or_else(missing).into()
        }));
    }
    if let Some(pod) = lookup.devices_of {
        found.devices = server.backend.devices(pod.into(), until).await?;
    }
    Ok(Reply::json(200, &found).holding(room))
}

fn size_of_pod(pod: &PodLookup) -> usize {
    match pod {
        PodLookup::Found(pod) => pod.annotations.iter().map(|(key, value)| key.len() + value.len()).sum(),
        _ => 0,
    }
}

fn size_of_nad(nad: &NadLookup) -> usize {
    match nad {
        NadLookup::Found(nad) => {
            nad.config.len() + nad.annotations.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>()
        }
        NadLookup::Missing(text) | NadLookup::Failed(text) => text.len(),
    }
}

fn too_large(reason: String) -> Refused {
    Refused::Cluster(ClusterError::Config { attempt: format!("answer {LOOKUP}"), reason })
}

/// Tells the caller; says whether waiting helps.
fn refuse<B: Backend>(server: &Server<B>, about: About<'_>, what: &str, error: ClusterError) -> Reply {
    server.log.about(Level::Error, about, format_args!("{what}: {error}"));
    let unavailable = matches!(error, ClusterError::Unavailable { .. });
    let options = &server.options;
    let mut failure = Failure::of(error, options.versions.newest, &options.program);
    if let (true, Err(why)) = (unavailable, server.backend.ready()) {
        failure.failure = FailureKind::NotReady;
        failure.reason = format!("{}; {why}", failure.reason);
    }
    Reply::failure(&failure)
}
