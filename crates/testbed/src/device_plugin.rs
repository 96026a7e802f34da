//! A device plugin, as vendors of network cards run one on each node: it offers devices to a real kubelet, and knows which of them
//! were allocated. gRPC by hand, as far as the kubelet needs it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

/// Our socket, beside the kubelet's.
const ENDPOINT: &str = "testbed.sock";

/// Dropped, it ends; the kubelet then sees its devices as unhealthy.
#[derive(Debug)]
pub struct DevicePlugin {
    allocated: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: File,
}

impl DevicePlugin {
    /// Offers `devices` as `resource` to the kubelet whose folder `device-plugins` this is.
    ///
    /// # Errors
    /// When no kubelet listens there, or it refuses.
    pub fn start(folder: &Path, resource: &str, devices: &[&str]) -> Result<Self> {
        let folder = File::open(folder).with_context(|| format!("open {}", folder.display()))?;
        // A socket's path has 107 bytes at most, and test folders lie deep.
        let sockets = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let allocated = Arc::new(Mutex::new(Vec::new()));
        let offer = ListAndWatchResponse {
            devices: devices
                .iter()
                .map(|id| Device { id: (*id).to_owned(), health: "Healthy".to_owned() })
                .collect(),
        };
        let listening = sockets.join(ENDPOINT);
        let _ = std::fs::remove_file(&listening);
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&listening).context("listen beside the kubelet")?
        };
        let (stop, stopped) = oneshot::channel();
        let answers = Arc::new(Answers { offer, allocated: Arc::clone(&allocated) });
        runtime.spawn(accept(listener, answers));
        let registration = RegisterRequest {
            version: "v1beta1".to_owned(),
            endpoint: ENDPOINT.to_owned(),
            resource_name: resource.to_owned(),
        };
        runtime
            .block_on(register(&sockets.join("kubelet.sock"), &registration))
            .with_context(|| format!("register {resource} with the kubelet"))?;
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        Ok(Self { allocated, stop: Some(stop), thread: Some(thread), _folder: folder })
    }

    /// All devices that the kubelet has allocated so far.
    #[must_use]
    pub fn allocated(&self) -> Vec<String> {
        self.allocated.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for DevicePlugin {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn register(socket: &Path, registration: &RegisterRequest) -> Result<()> {
    let stream = UnixStream::connect(socket).await.context("connect to the kubelet")?;
    let (mut sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    let request = Request::post("http://localhost/v1beta1.Registration/Register")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(framed(registration)))?;
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().unwrap_or(&head.headers);
    let told =
        |name| trailers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    ensure!(told("grpc-status") == "0", "gRPC status {}: {}", told("grpc-status"), told("grpc-message"));
    Ok(())
}

/// What is answered to the kubelet.
struct Answers {
    offer: ListAndWatchResponse,
    allocated: Arc<Mutex<Vec<String>>>,
}

async fn accept(listener: UnixListener, answers: Arc<Answers>) {
    while let Ok((stream, _)) = listener.accept().await {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&answers)));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // How the connection ends is the kubelet's affair.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, answers: Arc<Answers>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let asked = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let body = match head.uri.path() {
        "/v1beta1.DevicePlugin/GetDevicePluginOptions" => Body::answer(&Empty {}),
        "/v1beta1.DevicePlugin/ListAndWatch" => Body::stream(&answers.offer),
        "/v1beta1.DevicePlugin/Allocate" => {
            let asked =
                AllocateRequest::decode(asked.get(5..).unwrap_or_default()).map_err(io::Error::other)?;
            let containers = asked.containers.iter().map(|_| Empty {}).collect();
            let ids = asked.containers.into_iter().flat_map(|container| container.device_ids);
            answers.allocated.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
            Body::answer(&AllocateResponse { containers })
        }
        _ => Body::status("12"),
    };
    Response::builder().header("content-type", "application/grpc").body(body).map_err(io::Error::other)
}

/// A message with gRPC's five bytes before it: not compressed, and its length.
fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat().into()
}

/// Frames of an answer; then its end, or none for as long as the connection lasts.
struct Body {
    frames: VecDeque<Frame<Bytes>>,
    ends: bool,
}

impl Body {
    fn answer(message: &impl Message) -> Self {
        let mut body = Self::status("0");
        body.frames.push_front(Frame::data(framed(message)));
        body
    }

    fn stream(message: &impl Message) -> Self {
        Self { frames: VecDeque::from([Frame::data(framed(message))]), ends: false }
    }

    fn status(code: &'static str) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(code));
        Self { frames: VecDeque::from([Frame::trailers(trailers)]), ends: true }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct RegisterRequest {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    endpoint: String,
    #[prost(string, tag = "3")]
    resource_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListAndWatchResponse {
    #[prost(message, repeated, tag = "1")]
    devices: Vec<Device>,
}

#[derive(Clone, PartialEq, Message)]
struct Device {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    health: String,
}

#[derive(Clone, PartialEq, Message)]
struct AllocateRequest {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<ContainerAllocateRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerAllocateRequest {
    #[prost(string, repeated, tag = "1")]
    device_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct AllocateResponse {
    /// One for each container; what it could say about environment, mounts and device files is left out.
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Empty>,
}
