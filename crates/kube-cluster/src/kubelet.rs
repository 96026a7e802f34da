//! Devices that the kubelet allocated: gRPC over its pod-resources socket, or its checkpoint file where there is no socket.
//!
//! One unary call does not need a gRPC library: a message is five bytes and a protobuf, the status comes in the trailers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine::PodRef;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use prost::Message;
use tokio::net::UnixStream;
use tokio::time::timeout_at;

use crate::connection::{Failure, http2};
use crate::lookup::shown;
use crate::{Error, checkpoint};

const LIMIT: Duration = Duration::from_secs(10);
const LARGEST: usize = 16 << 20;

/// Where a kubelet keeps what is asked for here.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// The pod-resources socket.
    pub socket: PathBuf,
    /// The device checkpoint.
    pub checkpoint: PathBuf,
}

impl Default for Kubelet {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/var/lib/kubelet/pod-resources/kubelet.sock"),
            checkpoint: PathBuf::from("/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"),
        }
    }
}

impl Kubelet {
    /// Resource name to sorted device IDs, over all containers of the pod.
    ///
    /// # Errors
    /// When neither the socket nor, where that is not there or nobody listens on it, the checkpoint could be read.
    pub async fn devices(
        &self,
        pod: &PodRef,
        deadline: Instant,
    ) -> Result<BTreeMap<String, Vec<String>>, Error> {
        if !self.socket.exists() {
            return checkpoint::read(&self.checkpoint, pod.uid.as_deref().unwrap_or_default());
        }
        if pod.name.is_empty() || pod.namespace.is_empty() {
            return Err(Error::unavailable(
                "GetPodResourceMap",
                format!("invalid Pod cannot be empty: {:?}", shown(pod)),
            ));
        }
        let limit = deadline.min(Instant::now() + LIMIT);
        let attempt = || format!("getKubeletClient: list pod resources at {}", self.socket.display());
        let stream = match UnixStream::connect(&self.socket).await {
            Ok(stream) => stream,
            // A kubelet that is started again leaves its socket behind; what it has allocated is in the checkpoint all the time.
            Err(error) => {
                let uid = pod.uid.as_deref().unwrap_or_default();
                return checkpoint::read(&self.checkpoint, uid)
                    .map_err(|_| Error::unavailable(attempt(), error));
            }
        };
        let listed = timeout_at(limit.into(), list(stream)).await;
        let list = listed
            .map_err(|_| Error::unavailable(attempt(), "no answer in time"))?
            .map_err(|reason| Error::unavailable(attempt(), reason))?;
        Ok(devices_of(list, pod))
    }
}

fn devices_of(list: ListPodResourcesResponse, pod: &PodRef) -> BTreeMap<String, Vec<String>> {
    let mut devices: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let ours =
        list.pods.into_iter().filter(|found| found.name == pod.name && found.namespace == pod.namespace);
    for allocated in ours.flat_map(|pod| pod.containers).flat_map(|container| container.devices) {
        devices.entry(allocated.resource_name).or_default().extend(allocated.device_ids);
    }
    devices.values_mut().for_each(|ids| ids.sort());
    devices
}

async fn list(stream: UnixStream) -> Result<ListPodResourcesResponse, String> {
    let mut sender = http2(stream).await.map_err(|failure| match failure {
        Failure::Passing(reason) => reason,
        Failure::Final(error) => error.to_string(),
        Failure::TooLarge(limit) => format!("more than {limit} bytes"),
    })?;
    let request = Request::post("http://localhost/v1.PodResourcesLister/List")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        // The request has no fields: not compressed, no bytes.
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Err(format!("HTTP status {}", head.status));
    }
    // An answer without a message has its status in the headers.
    check(&head.headers)?;
    let message = message(body).await?;
    ListPodResourcesResponse::decode(message.as_slice()).map_err(|error| error.to_string())
}

async fn message(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        if let Some(trailers) = frame.trailers_ref() {
            check(trailers)?;
        }
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > LARGEST {
            return Err(format!("the answer is larger than {} MiB", LARGEST >> 20));
        }
        bytes.extend_from_slice(&data);
    }
    let Some((&[compressed, a, b, c, d], message)) = bytes.split_first_chunk() else {
        return Err("an answer without a message".to_owned());
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if compressed != 0 || message.len() != length {
        return Err("an answer that is not one uncompressed message".to_owned());
    }
    bytes.drain(..5);
    Ok(bytes)
}

fn check(headers: &HeaderMap) -> Result<(), String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => {
            Err(format!("rpc error: code {code}: {}", text("grpc-message").unwrap_or("without a message")))
        }
    }
}

// `k8s.io/kubelet/pkg/apis/podresources/v1`, the fields that matter.

#[derive(Clone, PartialEq, Message)]
struct ListPodResourcesResponse {
    #[prost(message, repeated, tag = "1")]
    pods: Vec<PodResources>,
}

#[derive(Clone, PartialEq, Message)]
struct PodResources {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(message, repeated, tag = "3")]
    containers: Vec<ContainerResources>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerResources {
    #[prost(message, repeated, tag = "2")]
    devices: Vec<ContainerDevices>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerDevices {
    #[prost(string, tag = "1")]
    resource_name: String,
    #[prost(string, repeated, tag = "2")]
    device_ids: Vec<String>,
}

#[cfg(test)]
mod tests;
