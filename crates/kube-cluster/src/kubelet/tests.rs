use std::convert::Infallible;

use hyper::Response;
use hyper::body::Frame;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;

use super::*;

type Frames = Vec<Frame<Bytes>>;

fn pod(namespace: &str, name: &str, uid: Option<&str>) -> PodRef {
    PodRef { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.map(str::to_owned) }
}

fn container(resource: &str, ids: &[&str]) -> ContainerResources {
    let device_ids = ids.iter().map(|&id| id.to_owned()).collect();
    ContainerResources { devices: vec![ContainerDevices { resource_name: resource.to_owned(), device_ids }] }
}

fn answer() -> ListPodResourcesResponse {
    let containers = vec![container("r/x", &["dev1"]), container("r/x", &["dev0"])];
    let ours = PodResources { name: "p".to_owned(), namespace: "n".to_owned(), containers };
    let other = PodResources {
        namespace: "other".to_owned(),
        containers: vec![container("r/y", &["z"])],
        ..ours.clone()
    };
    ListPodResourcesResponse { pods: vec![ours, other] }
}

fn framed(message: &[u8]) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(message);
    bytes.into()
}

fn trailers(status: &'static str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    trailers.insert("grpc-message", HeaderValue::from_static("not now"));
    Frame::trailers(trailers)
}

/// Answers one connection at a socket with `frames`, or not at all, and asks it.
fn ask(frames: Option<fn() -> Frames>, pod: &PodRef) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let dir = tempfile::tempdir().unwrap();
    let kubelet = Kubelet { socket: dir.path().join("s"), checkpoint: dir.path().join("checkpoint") };
    let runtime = crate::runtime().unwrap();
    runtime.block_on(async {
        let listener = UnixListener::bind(&kubelet.socket).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: Request<Incoming>| async move {
                assert_eq!(request.uri().path(), "/v1.PodResourcesLister/List");
                let Some(frames) = frames else { return std::future::pending().await };
                let body = Body(frames().into());
                Ok::<_, Infallible>(
                    Response::builder().header("content-type", "application/grpc").body(body).unwrap(),
                )
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
        kubelet.devices(pod, Instant::now() + Duration::from_secs(2)).await
    })
}

/// A body of given frames.
struct Body(std::collections::VecDeque<Frame<Bytes>>);

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop_front().map(Ok))
    }
}

#[test]
fn devices_of_all_containers_of_the_pod_are_sorted() {
    let frames = || vec![Frame::data(framed(&answer().encode_to_vec())), trailers("0")];
    let devices = ask(Some(frames), &pod("n", "p", None)).unwrap();
    assert_eq!(devices, BTreeMap::from([("r/x".to_owned(), vec!["dev0".to_owned(), "dev1".to_owned()])]));
}

#[test]
fn a_message_in_pieces_is_put_together() {
    let frames = || {
        let bytes = framed(&answer().encode_to_vec());
        let mut frames: Frames =
            bytes.chunks(3).map(|piece| Frame::data(Bytes::copy_from_slice(piece))).collect();
        frames.push(trailers("0"));
        frames
    };
    assert_eq!(ask(Some(frames), &pod("other", "p", None)).unwrap()["r/y"], ["z"]);
}

#[test]
fn an_unknown_pod_has_no_devices() {
    let frames = || vec![Frame::data(framed(&answer().encode_to_vec())), trailers("0")];
    assert!(ask(Some(frames), &pod("n", "unknown", None)).unwrap().is_empty());
}

#[test]
fn a_pod_without_a_name_is_an_error() {
    let error = ask(Some(Vec::new), &pod("", "p", None)).unwrap_err().to_string();
    assert!(error.contains("cannot be empty"), "{error}");
}

#[test]
fn a_grpc_error_is_told() {
    let error = ask(Some(|| vec![trailers("8")]), &pod("n", "p", None)).unwrap_err().to_string();
    assert!(error.contains("code 8: not now"), "{error}");
}

#[test]
fn answers_that_are_no_message_are_errors() {
    let garbage: [fn() -> Frames; 4] = [
        Vec::new,
        || vec![Frame::data(Bytes::from_static(b"\x00\x00\x00\x00\x09ab"))],
        || vec![Frame::data(Bytes::from_static(b"\x01\x00\x00\x00\x01a"))],
        || vec![Frame::data(framed(&[0xff; 40])), trailers("0")],
    ];
    for frames in garbage {
        assert!(ask(Some(frames), &pod("n", "p", None)).is_err());
    }
}

#[test]
fn a_kubelet_that_does_not_answer_is_not_waited_for_past_the_deadline() {
    let error = ask(None, &pod("n", "p", None)).unwrap_err().to_string();
    assert!(error.contains("in time"), "{error}");
}

#[test]
fn without_a_socket_the_checkpoint_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let kubelet = Kubelet { socket: dir.path().join("s"), checkpoint: dir.path().join("checkpoint") };
    let entry =
        r#"{"Data":{"PodDeviceEntries":[{"PodUID":"u","ResourceName":"r/x","DeviceIDs":{"0":["b","a"]}}]}}"#;
    std::fs::write(&kubelet.checkpoint, entry).unwrap();
    let runtime = crate::runtime().unwrap();
    let devices =
        runtime.block_on(kubelet.devices(&pod("n", "p", Some("u")), Instant::now() + LIMIT)).unwrap();
    assert_eq!(devices["r/x"], ["a", "b"]);
}
