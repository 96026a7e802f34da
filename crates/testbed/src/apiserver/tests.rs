use std::io::{Read, Write};

use super::*;

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
    let authority = api.authority().unwrap().to_owned();
    let dir = tempfile::tempdir().unwrap();
    let config = fs::read_to_string(api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap()).unwrap();
    assert!(config.contains("certificate-authority-data: ") && config.contains("server: https://127.0.0.1:"));
    let mut roots = rustls::RootCertStore::empty();
    let certificate =
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
            authority.as_bytes(),
        );
    roots.add(certificate.unwrap()).unwrap();
    let client =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let tls = rustls::ClientConnection::new(Arc::new(client), "127.0.0.1".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(tls, TcpStream::connect(("127.0.0.1", api.port())).unwrap());
    stream.write_all(b"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}
