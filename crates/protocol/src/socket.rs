//! [`Cluster`] behind the daemon's socket: the side of the shim.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use engine::{Answer, Cluster, ClusterError, PodRef, Query, Record, Recorded};
use serde::de::DeserializeOwned;

use crate::http::{self, Request, Response};
use crate::message::{self, Caller, Failure, FailureKind, Found};
use crate::{LARGEST_ANSWER, LOOKUP, RECORD, SOCKET, Versions};

/// How long one CNI call waits for the daemon, all its questions together. The runtime holds locks meanwhile (containerd one that
/// a reload of the CNI configuration needs), and the kubelet tries again anyway.
pub const PATIENCE: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The socket in the folder that the netconf key `daemonSocketDir` names.
#[must_use]
pub fn socket_path(dir: &Path) -> PathBuf {
    dir.join(SOCKET)
}

/// The daemon, asked over its socket. Clones share what they learn and how long they still wait.
#[derive(Debug, Clone)]
pub struct SocketCluster(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: PathBuf,
    caller: Caller,
    versions: Versions,
    patience: Duration,
    /// When waiting for the daemon began.
    since: Cell<Option<Instant>>,
    /// Whether upstream's daemon answered in place of ours.
    upstream: Cell<bool>,
}

/// What came of one exchange.
enum Answered<T> {
    Yes(T),
    /// Not now; it is worth trying again.
    NotYet(ClusterError),
    /// There was no time left for an answer.
    Late(ClusterError),
    No(ClusterError),
}

impl SocketCluster {
    /// The daemon whose socket is at `socket`, asked by `caller`. Nothing is sent yet.
    #[must_use]
    pub fn new(socket: &Path, caller: Caller) -> Self {
        Self::speaking(socket, caller, Versions::OURS, PATIENCE)
    }

    /// The same, speaking other versions than this program's, and waiting longer or shorter; for tests of both.
    #[must_use]
    pub fn speaking(socket: &Path, caller: Caller, versions: Versions, patience: Duration) -> Self {
        Self(Rc::new(Inner {
            socket: socket.to_owned(),
            caller,
            versions,
            patience,
            since: Cell::new(None),
            upstream: Cell::new(false),
        }))
    }

    /// Whether a lookup found upstream's daemon behind the socket, which answers whole CNI calls and no lookups.
    #[must_use]
    pub fn is_upstream(&self) -> bool {
        self.0.upstream.get()
    }
}

impl Inner {
    /// Asks until there is an answer, or until the wait for the daemon, or the call's own, is over.
    fn lookup(&self, message: &message::Lookup, deadline: Instant) -> Result<Found, ClusterError> {
        let began = self.since.get().unwrap_or_else(Instant::now);
        self.since.set(Some(began));
        let deadline = deadline.min(began + self.patience);
        let mut pause = FIRST_PAUSE;
        let mut before = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = message::Lookup { timeout_millis: millis(left), ..message.clone() };
            let error = match self.ask(LOOKUP, &message, deadline) {
                Answered::Yes(found) => return Ok(found),
                Answered::No(error) => return Err(error),
                Answered::NotYet(error) => error,
                // Why there was none until now says more than that the time is over.
                Answered::Late(error) => return Err(waited(before.unwrap_or(error), began.elapsed())),
            };
            if Instant::now() + pause >= deadline {
                return Err(waited(error, began.elapsed()));
            }
            before = Some(error);
            // Nothing tells when a daemon comes back: its socket is replaced by another.
            #[allow(clippy::disallowed_methods)]
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn ask<T: DeserializeOwned>(
        &self,
        path: &'static str,
        message: &impl serde::Serialize,
        deadline: Instant,
    ) -> Answered<T> {
        let unavailable = |reason: String| ClusterError::Unavailable { attempt: self.attempt(path), reason };
        let body = match serde_json::to_vec(message) {
            Ok(body) => body,
            Err(error) => return Answered::No(unavailable(error.to_string())),
        };
        let request = Request { method: "POST", path, body: &body, largest_answer: LARGEST_ANSWER, deadline };
        match http::call(&self.socket, &request) {
            Ok(Response { status: 200, body }) => match serde_json::from_slice(&body) {
                Ok(answer) => Answered::Yes(answer),
                Err(error) => Answered::No(unavailable(format!("its answer cannot be read: {error}"))),
            },
            Ok(response) => self.failed(path, &response),
            Err(error @ (http::Error::Connect(_) | http::Error::Broken(_))) => {
                let hint = "is the multus daemon of this node (DaemonSet kube-multus-ds) running?";
                Answered::NotYet(unavailable(format!("{error}; {hint}")))
            }
            Err(error @ http::Error::Late) => Answered::Late(unavailable(error.to_string())),
            Err(error) => Answered::No(unavailable(error.to_string())),
        }
    }

    fn failed<T>(&self, path: &'static str, response: &Response) -> Answered<T> {
        let attempt = self.attempt(path);
        let Ok(failure) = serde_json::from_slice::<Failure>(&response.body) else {
            // Upstream's daemon knows no such path, and says so without a word.
            if response.status == 404 && path == LOOKUP {
                self.upstream.set(true);
            }
            let reason = format!("it answered with HTTP status {}; is it another program?", response.status);
            return Answered::No(ClusterError::Unavailable { attempt, reason });
        };
        match failure.failure {
            FailureKind::Version => Answered::NotYet(ClusterError::Unavailable {
                attempt,
                reason: format!(
                    "{} speaks version {} of the protocol, {} speaks version {}; shim and daemon must be of \
                     neighbouring releases: roll the DaemonSet out, which installs both",
                    self.caller.program, self.versions.newest, failure.program, failure.version
                ),
            }),
            FailureKind::NotReady | FailureKind::Busy => Answered::NotYet(failure.into_error(&attempt)),
            _ => Answered::No(failure.into_error(&attempt)),
        }
    }

    fn attempt(&self, path: &str) -> String {
        let what = if path == LOOKUP { "look up" } else { "record" };
        format!("{what} at the daemon's socket {}", self.socket.display())
    }
}

impl Cluster for SocketCluster {
    fn lookup(&self, query: &Query) -> Result<Answer, ClusterError> {
        let message = message::Lookup {
            version: self.0.versions.newest,
            caller: self.0.caller.clone(),
            timeout_millis: 0,
            pod: query.pod.as_ref().map(Into::into),
            networks: query.nads.iter().map(Into::into).collect(),
            devices_of: None,
        };
        let found = self.0.lookup(&message, query.deadline)?;
        found.into_answer(query).map_err(|why| ClusterError::Unavailable {
            attempt: self.0.attempt(LOOKUP),
            reason: format!("its answer makes no sense: {why}"),
        })
    }

    fn devices(
        &self,
        pod: &PodRef,
        deadline: Instant,
    ) -> Result<BTreeMap<String, Vec<String>>, ClusterError> {
        let message = message::Lookup {
            version: self.0.versions.newest,
            caller: self.0.caller.clone(),
            timeout_millis: 0,
            pod: None,
            networks: Vec::new(),
            devices_of: Some(pod.into()),
        };
        Ok(self.0.lookup(&message, deadline)?.devices)
    }

    /// Asks once: a record that is not taken waits in the spool, where the next daemon finds it.
    fn record(&self, record: &Record, deadline: Instant) -> Result<Recorded, ClusterError> {
        let message = message::Record {
            version: self.0.versions.newest,
            caller: self.0.caller.clone(),
            timeout_millis: millis(deadline.saturating_duration_since(Instant::now())),
            pod: (&record.pod).into(),
            network_status: record.status.clone(),
            events: record.events.iter().map(Into::into).collect(),
        };
        match self.0.ask::<message::Recorded>(RECORD, &message, deadline) {
            Answered::Yes(recorded) => Ok(recorded.recorded.into()),
            Answered::NotYet(error) | Answered::Late(error) | Answered::No(error) => Err(error),
        }
    }
}

/// The error of a wait that was in vain.
fn waited(error: ClusterError, time: Duration) -> ClusterError {
    match error {
        ClusterError::Unavailable { attempt, reason } => ClusterError::Unavailable {
            attempt,
            reason: format!("{reason} (waited {:.1} s for it)", time.as_secs_f32()),
        },
        other => other,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
