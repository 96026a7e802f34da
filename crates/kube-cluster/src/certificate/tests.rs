use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;

use rcgen::date_time_ymd;
use serde_json::Value;

use super::*;

/// A server that answers a CertificateSigningRequest: `looks` GETs without a certificate, then `status`.
fn signer(looks: usize, status: Value) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut left = looks;
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let (method, body) = request(&stream);
            let mut answer = json!({"metadata": {"name": "csr-x"}});
            if method == "POST" {
                let _ = sender.send(serde_json::from_slice(&body).unwrap());
            } else if left == 0 {
                answer["status"] = status.clone();
            } else {
                left -= 1;
            }
            let text = answer.to_string();
            let _ = write!(
                &stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
        }
    });
    (url, receiver)
}

fn request(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (first.split(' ').next().unwrap().to_owned(), body)
}

fn certificate(from: i32, until: i32) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    base64::engine::general_purpose::STANDARD.encode(pem)
}

fn node(dir: &Path, url: &str) -> NodeCertificate {
    let bootstrap = dir.join("bootstrap");
    let text = format!(
        "clusters: [{{name: c, cluster: {{server: '{url}'}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
    );
    fs::write(&bootstrap, text).unwrap();
    NodeCertificate {
        node: "node1".to_owned(),
        dir: dir.to_owned(),
        bootstrap,
        duration: Duration::from_secs(600),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn a_certificate_is_asked_for_waited_for_and_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (url, requests) = signer(1, json!({"certificate": certificate(2020, 2090)}));
    let node = node(dir.path(), &url);
    let validity = node.obtain(soon()).unwrap();
    assert!(validity.covers(SystemTime::now()));
    let spec = &requests.recv().unwrap()["spec"];
    assert_eq!(spec["signerName"], "kubernetes.io/kube-apiserver-client");
    assert_eq!(spec["usages"], json!(["digital signature", "client auth"]));
    assert_eq!(spec["expirationSeconds"], 600);
    let pem = fs::read_to_string(node.path()).unwrap();
    assert!(pem.contains("BEGIN CERTIFICATE") && pem.contains("PRIVATE KEY"));
    assert_eq!(fs::metadata(node.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::symlink_metadata(node.path()).unwrap().is_symlink());
    assert_eq!(node.on_disk(), Some(validity));
}

#[test]
fn the_request_names_node_and_organisation() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), "http://127.0.0.1:1");
    let body: Value =
        serde_json::from_slice(&node.signing_request(&KeyPair::generate().unwrap()).unwrap()).unwrap();
    let pem =
        base64::engine::general_purpose::STANDARD.decode(body["spec"]["request"].as_str().unwrap()).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    assert_eq!(pem.label, "CERTIFICATE REQUEST");
    let text = String::from_utf8_lossy(&pem.contents).into_owned();
    assert!(text.contains("system:multus:node1"));
}

#[test]
fn a_denied_request_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _requests) =
        signer(0, json!({"conditions": [{"type": "Denied", "message": "unexpected user"}]}));
    let error = node(dir.path(), &url).obtain(soon()).unwrap_err().to_string();
    assert!(error.contains("denied: unexpected user"), "{error}");
}

#[test]
fn a_request_that_nobody_signs_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _requests) = signer(99, Value::Null);
    let error =
        node(dir.path(), &url).obtain(Instant::now() + Duration::from_secs(1)).unwrap_err().to_string();
    assert!(error.contains("csr-x") && error.contains("not signed"), "{error}");
    assert!(node(dir.path(), &url).on_disk().is_none());
}

#[test]
fn a_later_certificate_takes_the_earlier_ones_place_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["multus-client-2020-01-01-00-00-00.pem", "multus-client-2020-01-02-00-00-00.pem"] {
        fs::write(dir.path().join(name), "old").unwrap();
    }
    symlink("multus-client-2020-01-02-00-00-00.pem", dir.path().join(CURRENT)).unwrap();
    let node = node(dir.path(), "http://127.0.0.1:1");
    assert!(node.on_disk().is_none());
    node.store(b"new").unwrap();
    assert_eq!(fs::read(node.path()).unwrap(), b"new");
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name == "multus-client-2020-01-01-00-00-00.pem"), "{names:?}");
    assert!(names.iter().any(|name| name == "multus-client-2020-01-02-00-00-00.pem"), "{names:?}");
}

#[test]
fn renewal_is_due_at_seven_to_nine_tenths_of_the_life() {
    let not_before = UNIX_EPOCH + Duration::from_secs(1000);
    let validity = Validity { not_before, not_after: not_before + Duration::from_secs(1000) };
    for _ in 0..50 {
        let after = validity.renew_at().duration_since(not_before).unwrap().as_secs();
        assert!((700..=900).contains(&after), "{after}");
    }
}
