//! Between the messages and what the engine calls the same things.

use std::time::{Duration, Instant};

use engine::{Answer, ClusterError, PodLookup, PodRef, Query};
use plan::{EventKind, Nad, NadLookup, NadRef, PlanEvent};

use super::{
    Ending, Event, Failure, FailureKind, Found, Metadata, NetworkAttachmentDefinition, NetworkSpec, Outcome,
    Pod, Record, Reference, Status, StatusDetails,
};

impl From<&PodRef> for Reference {
    fn from(pod: &PodRef) -> Self {
        Self { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() }
    }
}

impl From<Reference> for PodRef {
    fn from(reference: Reference) -> Self {
        Self { namespace: reference.namespace, name: reference.name, uid: reference.uid }
    }
}

impl From<&NadRef> for Reference {
    fn from(nad: &NadRef) -> Self {
        Self { namespace: nad.namespace.clone(), name: nad.name.clone(), uid: None }
    }
}

impl From<Reference> for NadRef {
    fn from(reference: Reference) -> Self {
        Self::new(reference.namespace, reference.name)
    }
}

impl From<plan::Pod> for Pod {
    fn from(pod: plan::Pod) -> Self {
        let plan::Pod { namespace, name, uid, annotations, is_static: _ } = pod;
        Self { metadata: Metadata { namespace, name, uid, annotations } }
    }
}

impl From<Pod> for plan::Pod {
    fn from(pod: Pod) -> Self {
        let Metadata { namespace, name, uid, annotations } = pod.metadata;
        Self::new(namespace, name, uid, annotations)
    }
}

impl From<Nad> for NetworkAttachmentDefinition {
    fn from(nad: Nad) -> Self {
        let NadRef { namespace, name } = nad.reference;
        let metadata = Metadata { namespace, name, uid: None, annotations: nad.annotations };
        Self { metadata, spec: NetworkSpec { config: nad.config } }
    }
}

impl From<NetworkAttachmentDefinition> for Nad {
    fn from(nad: NetworkAttachmentDefinition) -> Self {
        let Metadata { namespace, name, annotations, .. } = nad.metadata;
        Self::new(NadRef::new(namespace, name), nad.spec.config, annotations)
    }
}

fn status(reason: &str, message: String) -> Status {
    Status { reason: reason.to_owned(), message, details: None }
}

impl Outcome<Pod> {
    /// What a lookup found, as it is written; nothing when none was asked for.
    #[must_use]
    pub fn of_pod(lookup: PodLookup) -> Option<Self> {
        Some(match lookup {
            PodLookup::NotAsked => return None,
            PodLookup::Found(pod) => Self::Object(pod.into()),
            PodLookup::Missing => Self::Status(status(Status::NOT_FOUND, "pod not found".to_owned())),
            PodLookup::Replaced { found_uid } => Self::Status(Status {
                details: Some(StatusDetails { uid: found_uid }),
                ..status(Status::CONFLICT, "another pod has that name".to_owned())
            }),
        })
    }

    fn into_lookup(self) -> Result<PodLookup, String> {
        match self {
            Self::Object(pod) => Ok(PodLookup::Found(pod.into())),
            Self::Status(status) => match (status.reason.as_str(), status.details) {
                (Status::NOT_FOUND, _) => Ok(PodLookup::Missing),
                (Status::CONFLICT, Some(details)) => Ok(PodLookup::Replaced { found_uid: details.uid }),
                _ => Err(format!("{}: {}", status.reason, status.message)),
            },
        }
    }
}

impl From<NadLookup> for Outcome<NetworkAttachmentDefinition> {
    fn from(lookup: NadLookup) -> Self {
        match lookup {
            NadLookup::Found(nad) => Self::Object(nad.into()),
            NadLookup::Missing(message) => Self::Status(status(Status::NOT_FOUND, message)),
            NadLookup::Failed(message) => Self::Status(status(Status::INTERNAL, message)),
        }
    }
}

impl From<Outcome<NetworkAttachmentDefinition>> for NadLookup {
    fn from(outcome: Outcome<NetworkAttachmentDefinition>) -> Self {
        match outcome {
            Outcome::Object(nad) => Self::Found(nad.into()),
            Outcome::Status(status) if status.reason == Status::NOT_FOUND => Self::Missing(status.message),
            Outcome::Status(status) => Self::Failed(status.message),
        }
    }
}

impl Found {
    /// The engine's answer to `query`.
    ///
    /// # Errors
    /// Says what of the answer does not fit the query.
    pub fn into_answer(self, query: &Query) -> Result<Answer, String> {
        if self.networks.len() != query.nads.len() {
            let asked = query.nads.len();
            return Err(format!("{asked} networks were asked for, {} answered", self.networks.len()));
        }
        let pod = match (self.pod, &query.pod) {
            (Some(pod), Some(_)) => pod.into_lookup()?,
            (None, None) => PodLookup::NotAsked,
            (Some(_), None) => return Err("a pod was answered and none asked for".to_owned()),
            (None, Some(_)) => return Err("a pod was asked for and none answered".to_owned()),
        };
        let mut answer = Answer { pod, nads: Default::default() };
        for (asked, outcome) in query.nads.iter().zip(self.networks) {
            let found = NadLookup::from(outcome);
            if let NadLookup::Found(nad) = &found
                && nad.reference != *asked
            {
                return Err(format!("network {asked} was asked for, {} answered", nad.reference));
            }
            answer.nads.insert(asked.clone(), found);
        }
        Ok(answer)
    }
}

impl From<&PlanEvent> for Event {
    fn from(event: &PlanEvent) -> Self {
        Self { kind: event.kind.to_string(), reason: event.reason.clone(), message: event.message.clone() }
    }
}

impl From<Event> for PlanEvent {
    fn from(event: Event) -> Self {
        let kind = if event.kind == "Normal" { EventKind::Normal } else { EventKind::Warning };
        Self { kind, reason: event.reason, message: event.message }
    }
}

impl From<Record> for engine::Record {
    fn from(record: Record) -> Self {
        Self {
            pod: record.pod.into(),
            status: record.network_status,
            events: record.events.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<engine::Recorded> for Ending {
    fn from(recorded: engine::Recorded) -> Self {
        match recorded {
            engine::Recorded::Written => Self::Written,
            engine::Recorded::PodGone => Self::PodGone,
            engine::Recorded::PodReplaced => Self::PodReplaced,
        }
    }
}

impl From<Ending> for engine::Recorded {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Written => Self::Written,
            Ending::PodGone => Self::PodGone,
            Ending::PodReplaced => Self::PodReplaced,
        }
    }
}

impl Failure {
    /// The failure that tells `error` to the shim.
    #[must_use]
    pub fn of(error: ClusterError, version: u32, program: &str) -> Self {
        let (failure, attempt, reason) = match error {
            ClusterError::Unavailable { attempt, reason } => (FailureKind::Unavailable, attempt, reason),
            ClusterError::Denied { attempt, reason } => (FailureKind::Denied, attempt, reason),
            ClusterError::Config { attempt, reason } => (FailureKind::Config, attempt, reason),
        };
        Self { version, program: program.to_owned(), failure, attempt, reason }
    }

    /// The engine's error. `here` is the caller's attempt, for where the daemon names none of its own.
    #[must_use]
    pub fn into_error(self, here: &str) -> ClusterError {
        let attempt = if self.attempt.is_empty() { here.to_owned() } else { self.attempt };
        let reason = self.reason;
        match self.failure {
            FailureKind::Denied => ClusterError::Denied { attempt, reason },
            FailureKind::Config => ClusterError::Config { attempt, reason },
            FailureKind::NotReady
            | FailureKind::Busy
            | FailureKind::Version
            | FailureKind::Malformed
            | FailureKind::Unavailable => ClusterError::Unavailable { attempt, reason },
        }
    }
}

/// The deadline that follows from the time that the other side says, at most `longest` from now.
#[must_use]
pub fn deadline(timeout_millis: u64, longest: Duration) -> Instant {
    Instant::now() + Duration::from_millis(timeout_millis).min(longest)
}
