use proptest::prelude::*;

use super::*;

const UPSTREAM: &str = "# Kubeconfig file for Multus CNI plugin.
apiVersion: v1
kind: Config
clusters:
- name: local
  cluster:
    server: https://[fd00::1]:443
    certificate-authority-data: Q0E=
users:
- name: multus
  user:
    token: \"t0ken\"
contexts:
- name: multus-context
  context:
    cluster: local
    user: multus
current-context: multus-context
";

fn parse(text: &str) -> Result<Access, Error> {
    Access::parse(text.as_bytes(), Path::new("/nowhere"))
}

#[test]
fn upstreams_kubeconfig_is_read() {
    let access = parse(UPSTREAM).unwrap();
    assert_eq!(access.server, "https://[fd00::1]:443");
    assert_eq!(access.authority.as_deref(), Some(&b"CA"[..]));
    assert_eq!(access.credentials, Credentials::Token("t0ken".to_owned()));
    assert!(!access.insecure && access.certificate.is_none());
}

#[test]
fn json_is_read_as_well_and_null_is_absent() {
    let access = parse(
        r#"{"clusters":[{"name":"c","cluster":{"server":"http://h:1","certificate-authority-data":null,
            "insecure-skip-tls-verify":true}}],"users":null,
            "contexts":[{"name":"x","context":{"cluster":"c"}}],"current-context":"x","preferences":{}}"#,
    )
    .unwrap();
    assert_eq!(access.credentials, Credentials::None);
    assert!(access.insecure);
}

#[test]
fn a_client_certificate_in_files_is_read_relative_to_the_kubeconfig() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("both.pem"), "PEM").unwrap();
    let path = dir.path().join("kubeconfig");
    fs::write(
        &path,
        UPSTREAM.replace("token: \"t0ken\"", "client-certificate: both.pem\n    client-key: both.pem"),
    )
    .unwrap();
    let access = Access::read(&path).unwrap();
    assert_eq!(access.certificate.unwrap().key, b"PEM");
    assert_eq!(access.credentials, Credentials::None);
}

#[test]
fn a_token_file_wins_over_the_token_beside_it() {
    let access = parse(&UPSTREAM.replace("token: \"t0ken\"", "token: old\n    tokenFile: /t")).unwrap();
    assert_eq!(access.credentials, Credentials::TokenFile(PathBuf::from("/t")));
}

#[test]
fn mistakes_are_named() {
    for (from, to, named) in [
        ("current-context: multus-context", "current-context: other", "other"),
        ("cluster: local\n", "cluster: elsewhere\n", "elsewhere"),
        ("user: multus\n", "user: nobody\n", "nobody"),
        ("    server: https://[fd00::1]:443\n", "", "no server"),
        ("Q0E=", "\"!!!\"", "base64"),
        ("token: \"t0ken\"", "exec: {command: aws}", "exec"),
        ("token: \"t0ken\"", "client-certificate: /does/not/exist", "/does/not/exist"),
    ] {
        let error = parse(&UPSTREAM.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(named), "{named}: {error}");
    }
}

#[test]
fn no_error_and_no_debug_text_shows_a_secret() {
    let broken = format!("{UPSTREAM}\n  broken: [");
    let error = parse(&broken).unwrap_err().to_string();
    assert!(!error.contains("t0ken"), "{error}");
    let broken = UPSTREAM.replace("token: \"t0ken\"", "token: [t0ken]");
    let error = parse(&broken).unwrap_err().to_string();
    assert!(!error.contains("t0ken"), "{error}");
    // Where a mapping belongs, and where a number or a switch does.
    for (from, to) in [
        ("user:\n    token: \"t0ken\"", "user: t0ken"),
        ("    server:", "    insecure-skip-tls-verify: t0ken\n    server:"),
        ("users:", "users: t0ken\nothers:"),
    ] {
        let broken = UPSTREAM.replace(from, to);
        assert_ne!(broken, UPSTREAM, "{from:?} is not there");
        if let Err(error) = parse(&broken) {
            assert!(!error.to_string().contains("t0ken"), "{error}");
        }
    }
    assert!(!format!("{:?}", parse(UPSTREAM).unwrap()).contains("t0ken"));
}

#[test]
fn deep_and_large_yaml_ends_in_bounded_time() {
    assert!(parse(&"[".repeat(200_000)).is_err());
    assert!(parse(&"{a: ".repeat(200_000)).is_err());
    let bomb = (0..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        format!("{text}a{next}: &a{next} [*a{n}, *a{n}, *a{n}, *a{n}]\n", next = n + 1)
    });
    assert!(parse(&bomb).is_err());
}

#[test]
fn a_pods_service_account_is_the_fallback() {
    let dir = tempfile::tempdir().unwrap();
    let environment = |name: &str| match name {
        "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
        "KUBERNETES_SERVICE_PORT" => Some("443".to_owned()),
        _ => None,
    };
    assert!(Access::service_account(&environment, dir.path()).unwrap().is_none());
    fs::write(dir.path().join("token"), "t").unwrap();
    assert!(Access::service_account(&environment, dir.path()).unwrap_err().to_string().contains("ca.crt"));
    fs::write(dir.path().join("ca.crt"), "CA").unwrap();
    let access = Access::service_account(&environment, dir.path()).unwrap().unwrap();
    assert_eq!(access.server, "https://[fd00::1]:443");
    assert!(Access::service_account(&|_| None, dir.path()).unwrap().is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Access::parse(&bytes, Path::new("/nowhere"));
    }

    #[test]
    fn any_text_beside_a_right_one_is_read_or_refused(at in 0..UPSTREAM.len(), text in ".{0,20}") {
        let mut changed = UPSTREAM.to_owned();
        changed.insert_str(at, &text);
        let _ = parse(&changed);
    }
}
