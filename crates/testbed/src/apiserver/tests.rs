use std::io::{Read, Write};
use std::net::TcpStream;

use http_body_util::{BodyExt, Empty};
use hyper::Version;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;

use super::*;

/// A TLS client that trusts `api`, and prefers these protocols.
fn client(api: &FakeApi, protocols: &[&str]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = rustls::pki_types::CertificateDer::from_pem_slice(api.authority().unwrap().as_bytes());
    roots.add(authority.unwrap()).unwrap();
    let mut client =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    client.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(client)
}

/// One GET after another over one HTTP/2 connection: what was answered, or that the answer did not come.
fn get_by_http2(api: &FakeApi, paths: &[&str]) -> Vec<Option<(u16, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", api.port())).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(client(api, &["h2"]));
        let stream = connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
        let (mut sender, driver) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        let mut answers = Vec::new();
        for path in paths {
            let request = hyper::Request::get(format!("{}{path}", api.url())).body(Empty::<Bytes>::new());
            let answer = async {
                let response = sender.send_request(request.unwrap()).await.ok()?;
                assert_eq!(response.version(), Version::HTTP_2);
                let code = response.status().as_u16();
                let body = response.into_body().collect().await.ok()?.to_bytes();
                Some((code, String::from_utf8_lossy(&body).into_owned()))
            };
            answers.push(answer.await);
        }
        answers
    })
}

fn ask(api: &FakeApi, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", api.port())).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

fn get(api: &FakeApi, path: &str) -> String {
    ask(api, &format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"))
}

fn patch(api: &FakeApi, body: &str) -> String {
    ask(
        api,
        &format!(
            "PATCH /api/v1/namespaces/a/pods/p/status HTTP/1.1\r\nConnection: close\r\nContent-Type: \
             application/merge-patch+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

#[test]
fn it_answers_like_a_server() {
    let api = FakeApi::plain().unwrap();
    api.add_pod_with("a", "p", "u1", &[("k", "v")]);
    assert!(get(&api, "/api/v1/namespaces/a/pods/p").contains("\"uid\":\"u1\""));
    let missing = get(&api, "/apis/k8s.cni.cncf.io/v1/namespaces/a/network-attachment-definitions/n");
    assert!(missing.starts_with("HTTP/1.1 404"));
    assert!(
        missing.contains(r#"network-attachment-definitions.k8s.cni.cncf.io \"n\" not found"#),
        "{missing}"
    );
    assert!(
        patch(&api, r#"{"metadata":{"uid":"other","annotations":{"s":"x"}}}"#).starts_with("HTTP/1.1 409")
    );
    assert!(
        patch(&api, r#"{"metadata":{"uid":"u1","annotations":{"s":"x","k":null}}}"#)
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(api.annotation("a", "p", "s").unwrap(), "x");
    assert_eq!(api.annotation("a", "p", "k"), None);
    api.forbid_patch(true);
    assert!(patch(&api, r#"{"metadata":{}}"#).starts_with("HTTP/1.1 403"));
    assert_eq!(
        api.requests().iter().map(|request| request.status).collect::<Vec<_>>(),
        [200, 404, 409, 200, 403]
    );
}

#[test]
fn faults_hit_as_often_as_said() {
    let mut api = FakeApi::plain().unwrap();
    api.add_fault(Fault {
        method: String::new(),
        path: "version".into(),
        times: 1,
        kind: FaultKind::Status(500, "InternalError".into(), "boom".into()),
    });
    assert!(get(&api, "/version").starts_with("HTTP/1.1 500"));
    assert!(get(&api, "/version").starts_with("HTTP/1.1 200"));
    api.add_fault(Fault { method: String::new(), path: String::new(), times: 1, kind: FaultKind::Close });
    assert_eq!(get(&api, "/version"), "");
    api.refuse();
    assert!(TcpStream::connect(("127.0.0.1", api.port())).is_err());
    api.resume().unwrap();
    assert!(get(&api, "/version").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_slow_server_ends_at_once_when_dropped() {
    let api = FakeApi::plain().unwrap();
    api.set_delay(Duration::from_secs(100));
    let mut stream = TcpStream::connect(("127.0.0.1", api.port())).unwrap();
    stream.write_all(b"GET /version HTTP/1.1\r\n\r\n").unwrap();
    crate::wait::until("the request", Duration::from_secs(10), || (!api.requests().is_empty()).then_some(()))
        .unwrap();
    drop(api);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

#[test]
fn tls_is_real() {
    let api = FakeApi::tls().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = fs::read_to_string(api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap()).unwrap();
    assert!(config.contains("certificate-authority-data: ") && config.contains("server: https://127.0.0.1:"));
    let tls = rustls::ClientConnection::new(client(&api, &[]), "127.0.0.1".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(tls, TcpStream::connect(("127.0.0.1", api.port())).unwrap());
    stream.write_all(b"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[test]
fn http2_is_spoken_where_the_client_does() {
    let api = FakeApi::tls().unwrap();
    api.add_pod_with("a", "p", "u1", &[]);
    let pod = "/api/v1/namespaces/a/pods/p";
    let answers = get_by_http2(&api, &[pod, "/api/v1/namespaces/a/pods/q"]);
    let (code, body) = answers[0].as_ref().unwrap();
    assert!(*code == 200 && body.contains("\"uid\":\"u1\""), "{body}");
    assert_eq!(answers[1].as_ref().unwrap().0, 404);
    let logged = api.requests();
    assert_eq!((logged[0].path.as_str(), logged[0].status), (pod, 200));
}

#[test]
fn faults_break_http2_as_well() {
    let api = FakeApi::tls().unwrap();
    api.add_pod_with("a", "p", "u1", &[]);
    let pod = "/api/v1/namespaces/a/pods/p";
    let fault = |kind| Fault { method: String::new(), path: String::new(), times: 1, kind };
    api.add_fault(fault(FaultKind::Truncate));
    let answers = get_by_http2(&api, &[pod, pod]);
    assert_eq!((answers[0].is_some(), answers[1].is_some()), (false, true), "one answer is cut");
    api.add_fault(fault(FaultKind::Close));
    let answers = get_by_http2(&api, &[pod, pod]);
    assert_eq!((answers[0].is_some(), answers[1].is_some()), (false, false), "the connection is gone");
    assert_eq!(api.requests().last().unwrap().status, 0);
}

#[test]
fn a_server_of_http1_offers_nothing_else() {
    let api = FakeApi::tls_http1().unwrap();
    let tls =
        rustls::ClientConnection::new(client(&api, &["h2", "http/1.1"]), "127.0.0.1".try_into().unwrap());
    let stream = TcpStream::connect(("127.0.0.1", api.port())).unwrap();
    let mut stream = rustls::StreamOwned::new(tls.unwrap(), stream);
    stream.write_all(b"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}
