//! HTTP/2 over TLS, as a real API server speaks it: one connection carries all GETs at once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::{Cluster, PodLookup, PodRef, Query, Record, Recorded};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_cluster::kubeconfig::{Access, Credentials};
use kube_cluster::{KubeCluster, Source};
use plan::{NadLookup, NadRef};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Server {
    access: Access,
    counts: Arc<Counts>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// A certificate authority in PEM, and a configuration of a server that it has signed.
fn certificates() -> (String, rustls::ServerConfig) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let signed = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &Issuer::new(authority, authority_key))
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (pem, config)
}

fn answer(path: &str) -> String {
    let name = path.trim_end_matches("/status").rsplit('/').next().unwrap();
    format!(r#"{{"metadata":{{"name":"{name}","uid":"u"}},"spec":{{"config":"c-{name}"}}}}"#)
}

/// A server that answers every request after 200 ms, in a thread of its own.
fn serve() -> Server {
    let (pem, config) = certificates();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let counts = Arc::new(Counts::default());
    let (tell, address) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shared = Arc::clone(&counts);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            tokio::spawn(accept(listener, acceptor, shared));
            let _ = stopped.await;
        });
    });
    let access = Access {
        server: format!("https://{}/prefix", address.recv().unwrap()),
        authority: Some(pem.into_bytes()),
        insecure: false,
        server_name: None,
        credentials: Credentials::Token("t".to_owned()),
        certificate: None,
    };
    Server { access, counts, stop: Some(stop), thread: Some(thread) }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, counts: Arc<Counts>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, counts) = (acceptor.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            counts.connections.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(move |request| respond(request, Arc::clone(&counts)));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    counts: Arc<Counts>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    assert!(request.uri().path().starts_with("/prefix/"), "{}", request.uri());
    let now = counts.now.fetch_add(1, Ordering::SeqCst) + 1;
    counts.most.fetch_max(now, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    counts.now.fetch_sub(1, Ordering::SeqCst);
    Ok(Response::new(Full::new(answer(request.uri().path()).into())))
}

#[test]
fn one_connection_carries_all_requests_at_once() {
    let server = serve();
    let cluster = KubeCluster::new(Source::Fixed(server.access.clone())).unwrap();
    let pod = PodRef { namespace: "ns".to_owned(), name: "a".to_owned(), uid: Some("u".to_owned()) };
    let nads: Vec<_> = ["net1", "net2", "net3", "net4", "net5", "net6"]
        .iter()
        .map(|name| NadRef::new("ns", *name))
        .collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    let answer = cluster.lookup(&Query { pod: Some(pod.clone()), nads: nads.clone(), deadline }).unwrap();
    assert!(matches!(answer.pod, PodLookup::Found(_)));
    for reference in &nads {
        let NadLookup::Found(nad) = &answer.nads[reference] else { panic!("{answer:?}") };
        assert_eq!(nad.config, format!("c-{}", reference.name));
    }
    assert_eq!(server.counts.most.load(Ordering::SeqCst), 7);
    let record = Record { pod, status: Some("[]".to_owned()), events: Vec::new() };
    assert_eq!(cluster.record(&record, deadline).unwrap(), Recorded::Written);
    assert_eq!(server.counts.connections.load(Ordering::SeqCst), 1);
}
