//! The API server for a process that stays and is asynchronous itself: what [`KubeCluster`](crate::KubeCluster) asks in one call,
//! in parts, on the caller's runtime.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use engine::{PodLookup, PodRef, Recorded};
use plan::{NadLookup, NadRef, PlanEvent};
use serde::de::DeserializeOwned;

use crate::approval::{self, Verdict};
use crate::client::{Client, Request};
use crate::lookup::{pod_path, shown};
use crate::watch::{self, Event, Watched};
use crate::{Error, Source, event, lookup, record};

/// An API server. Clones share its connection.
#[derive(Debug, Clone)]
pub struct Api {
    client: Arc<Client>,
    permissions: Arc<record::Permissions>,
}

impl Api {
    /// The API server that `source` describes. Nothing is sent yet.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn new(source: Source) -> Result<Self, Error> {
        Ok(Self { client: Arc::new(Client::new(source)?), permissions: Arc::default() })
    }

    /// Tells `sink` what there is of `watched`, and from then on what changes, until it breaks.
    pub async fn follow<T: DeserializeOwned>(
        &self,
        watched: &Watched,
        sink: impl FnMut(Event<T>) -> ControlFlow<()>,
    ) {
        watch::follow(&self.client, watched, sink).await;
    }

    /// The object at `path`, asked for now; `attempt` is for error texts, as `get daemonset kube-system/a`.
    ///
    /// # Errors
    /// When the API server does not answer before `deadline`, answers that we may not or that there is none, or when its answer
    /// is no `T`.
    pub async fn get<T: DeserializeOwned>(
        &self,
        attempt: String,
        path: String,
        deadline: Instant,
    ) -> Result<T, Error> {
        self.client.call_for(&Request::get(attempt, path), deadline).await
    }

    /// A NAD, asked for now. No more than `largest` bytes of an answer are held.
    ///
    /// # Errors
    /// When the API server does not answer before `deadline`, or that we may not; [`Error::TooLarge`].
    pub async fn nad(
        &self,
        reference: &NadRef,
        largest: usize,
        deadline: Instant,
    ) -> Result<NadLookup, Error> {
        lookup::find_nad(&self.client, reference, largest, deadline).await
    }

    /// A pod, asked for now and once.
    ///
    /// # Errors
    /// When the API server does not answer before `deadline`, or that we may not.
    pub async fn pod(&self, pod: &PodRef, deadline: Instant) -> Result<PodLookup, Error> {
        lookup::look(&self.client, pod, deadline).await
    }

    /// A pod as the type of the caller's choice.
    ///
    /// # Errors
    /// When the API server does not answer before `deadline`, answers that we may not or that there is none, or when its answer
    /// is no `T`.
    pub async fn pod_as<T: DeserializeOwned>(&self, pod: &PodRef, deadline: Instant) -> Result<T, Error> {
        let request = Request::get(format!("get pod {}", shown(pod)), pod_path(pod)?);
        self.client.call_for(&request, deadline).await
    }

    /// Writes the text of a pod's network status.
    ///
    /// # Errors
    /// When that was not possible before `deadline`.
    pub async fn write_status(
        &self,
        pod: &PodRef,
        status: &str,
        deadline: Instant,
    ) -> Result<Recorded, Error> {
        record::write_status(&self.client, &self.permissions, pod, status, deadline).await
    }

    /// Approves or denies the CertificateSigningRequest of this name, where that is ours to do.
    ///
    /// # Errors
    /// When the API server does not answer before `deadline`, or we may not.
    pub async fn settle(&self, request: &str, deadline: Instant) -> Result<Verdict, Error> {
        approval::settle(&self.client, request, deadline).await
    }

    /// Posts an event on a pod.
    ///
    /// # Errors
    /// When that was not possible before `deadline`.
    pub async fn post(&self, pod: &PodRef, told: &PlanEvent, deadline: Instant) -> Result<(), Error> {
        self.post_as(event::unique(&pod.name), pod, told, deadline).await
    }

    /// Posts an event on a pod that is stored once, however often it is posted for the same `cause`: a word in lower case.
    ///
    /// # Errors
    /// When that was not possible before `deadline`.
    pub async fn post_once(
        &self,
        cause: &str,
        pod: &PodRef,
        told: &PlanEvent,
        deadline: Instant,
    ) -> Result<(), Error> {
        match self.post_as(event::fixed(pod, cause), pod, told, deadline).await {
            Err(Error::Refused { code: 409, .. }) => Ok(()),
            posted => posted,
        }
    }

    async fn post_as(
        &self,
        name: String,
        pod: &PodRef,
        told: &PlanEvent,
        deadline: Instant,
    ) -> Result<(), Error> {
        let request = event::request(pod, told, &name).map_err(|reason| {
            Error::config(format!("post event {} on pod {}", told.reason, shown(pod)), reason)
        })?;
        self.client.call(&request, deadline).await.map(drop)
    }
}
