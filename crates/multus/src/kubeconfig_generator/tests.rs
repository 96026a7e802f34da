use kube_cluster::kubeconfig::{ClientCertificate, Credentials};

use super::*;

#[test]
fn durations_are_read_as_go_writes_them() {
    for (text, seconds) in [("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("600s", 600), ("24h0m0s", 86400)]
    {
        assert_eq!(duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
    }
    for text in ["", "10", "m", "-1h", "ten minutes", "1h x", "9m59s", "1e400h"] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn q33_the_kubeconfig_holds_the_authority_however_it_was_given() {
    let access = Access {
        server: "https://[fd00::1]:6443".to_owned(),
        authority: Some(b"CA".to_vec()),
        insecure: false,
        server_name: Some("kubernetes".to_owned()),
        credentials: Credentials::Token("bootstrap".to_owned()),
        certificate: None,
    };
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("multus-client-current.pem");
    fs::write(&pem, "PEM").unwrap();
    let text = kubeconfig_text(&access, &pem);
    assert!(!text.contains("bootstrap"), "{text}");
    let read = Access::parse(text.as_bytes(), Path::new("/nowhere")).unwrap();
    let certificate = Some(ClientCertificate { certificate: b"PEM".to_vec(), key: b"PEM".to_vec() });
    assert_eq!(read, Access { credentials: Credentials::None, certificate, ..access });
}

#[test]
fn a_valid_certificate_is_used_again_and_the_kubeconfig_goes_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let bootstrap = dir.path().join("bootstrap");
    fs::write(
        &bootstrap,
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: x, context: {cluster: c}}]\n",
    )
    .unwrap();
    let certificate = NodeCertificate {
        node: "n".to_owned(),
        dir: dir.path().to_owned(),
        bootstrap,
        duration: Duration::from_secs(600),
    };
    let (stop, sender) = Stop::by_hand().unwrap();
    drop(sender);
    let kubeconfig = dir.path().join("kubeconfig");
    let error = keep(
        &NodeCertificate { bootstrap: dir.path().join("none"), ..certificate.clone() },
        &kubeconfig,
        &stop,
    );
    assert!(error.unwrap_err().contains("none"), "without a certificate the bootstrap is needed");
    fs::write(certificate.path(), include_str!("tests/certificate.pem")).unwrap();
    keep(&certificate, &kubeconfig, &stop).unwrap();
    assert!(!kubeconfig.exists());
}
