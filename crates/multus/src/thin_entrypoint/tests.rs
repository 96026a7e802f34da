use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::{PodRef, Record};
use testbed::apiserver::FakeApi;

use super::install::Installation;
use super::netconf::generate;
use super::options::{Asked, Options};
use super::primary::{Error, Primary};
use super::spool::Spool;
use super::stop::Stop;
use super::{keep, kubeconfig};

const ANNOTATIONS: &str = r#""capabilities": {"io.kubernetes.cri.pod-annotations":true},"#;
const OLD_PRIMARY: &str = r#"{ "cniVersion": "0.3.1", "name": "test1", "type": "cnitesttype" }"#;
const NEW_PRIMARY: &str = r#"{ "cniVersion": "1.0.0", "name": "test1", "type": "cnitesttype" }"#;

struct Node {
    dir: tempfile::TempDir,
    said: RefCell<Vec<String>>,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["bin", "net.d", "account"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("multus"), "program").unwrap();
        fs::write(dir.path().join("account/token"), "t0ken").unwrap();
        fs::write(dir.path().join("account/ca.crt"), "CA").unwrap();
        Self { dir, said: RefCell::default() }
    }

    fn with_primary(name: &str, text: &str) -> Self {
        let node = Self::new();
        node.write(name, text);
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the CNI configuration directory.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("net.d").join(name), text).unwrap();
    }

    fn conf(&self, name: &str) -> String {
        fs::read_to_string(self.path("net.d").join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("net.d")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn options(&self, more: &[&str]) -> Options {
        let flag = |name: &str, path: &str| format!("--{name}={}", self.path(path).display());
        let mut arguments = vec![
            flag("cni-bin-dir", "bin"),
            flag("cni-conf-dir", "net.d"),
            flag("multus-autoconfig-dir", "net.d"),
            flag("multus-bin-file", "multus"),
            "--multus-cni-conf-dir=/tmp/multus/net.d".to_owned(),
            "--multus-kubeconfig-file-host=/etc/foobar_kubeconfig".to_owned(),
        ];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let environment = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("6443".to_owned()),
            _ => None,
        };
        let Asked::Run(mut options) = Options::read(&arguments, &environment).unwrap() else { panic!() };
        options.service_account = self.path("account");
        options.spool = self.path("spool");
        options.multus_conf_dir = self.path("multus-net.d");
        *options
    }

    fn say(&self) -> impl Fn(&str) + '_ {
        |line| self.said.borrow_mut().push(line.to_owned())
    }

    fn has_said(&self, text: &str) -> bool {
        self.said.borrow().iter().any(|line| line.contains(text))
    }
}

fn generated(node: &Node, more: &[&str]) -> Result<(String, String), String> {
    let mut options = node.options(more);
    options.multus_conf_dir = PathBuf::new();
    generated_by(&options)
}

fn generated_by(options: &Options) -> Result<(String, String), String> {
    let made = Primary::choose(options).and_then(|primary| generate(options, &primary));
    made.map(|made| (made.file_name.to_owned(), made.text)).map_err(|error| match error {
        Error::Missing(reason) | Error::Unusable(reason) => reason,
    })
}

/// Upstream's text, with the capability that is ours.
#[test]
fn a_conf_has_upstreams_bytes() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let (name, text) = generated(&node, &["--multus-log-to-stderr=false"]).unwrap();
    assert_eq!(name, "00-multus.conf");
    let expected = format!(
        r#"{{
        "cniVersion": "0.3.1",
        "name": "multus-cni-network",
        "type": "multus",
        {ANNOTATIONS}
        "logToStderr": false,
        "kubeconfig": "/etc/foobar_kubeconfig",
        "delegates": [
                {{"cniVersion":"0.3.1","name":"test1","type":"cnitesttype"}}
        ]
}}
"#
    );
    assert_eq!(text, expected);
}

#[test]
fn a_conflist_has_upstreams_bytes() {
    for version in ["1.0.0", "1.1.0"] {
        let node = Node::with_primary("10-testcni.conf", &NEW_PRIMARY.replace("1.0.0", version));
        let (name, text) = generated(&node, &["--multus-log-to-stderr=false"]).unwrap();
        assert_eq!(name, "00-multus.conflist");
        let expected = format!(
            r#"{{
    "cniVersion": "{version}",
    "name": "multus-cni-network",
    "plugins": [ {{
        "type": "multus",
        {ANNOTATIONS}
        "logToStderr": false,
        "kubeconfig": "/etc/foobar_kubeconfig",
        "delegates": [
            {{"cniVersion":"{version}","name":"test1","type":"cnitesttype"}}
        ]
    }}]
}}
"#
        );
        assert_eq!(text, expected);
    }
}

#[test]
fn q33_all_options_are_written_in_upstreams_order_and_confdir_by_its_name() {
    let node = Node::with_primary(
        "10-testcni.conf",
        &OLD_PRIMARY.replace(
            "\"type\"",
            "\"capabilities\": {\"portMappings\": false, \"bandwidth\": true}, \"type\"",
        ),
    );
    let mut options = node.options(&[
        "--namespace-isolation",
        "--global-namespaces=foobar,barfoo",
        "--multus-log-to-stderr=false",
        "--multus-log-level=DEBUG",
        "--multus-log-file=/tmp/foobar.log",
        "--additional-bin-dir=/tmp/add_bin_dir",
        "--readiness-indicator-file=/var/lib/foobar_indicator",
        "--override-network-name",
    ]);
    options.multus_conf_dir = PathBuf::from("/host/etc/cni/multus/net.d");
    let (_, text) = generated_by(&options).unwrap();
    let expected = r#"{
        "cniVersion": "0.3.1",
        "name": "test1",
        "type": "multus",
        "capabilities": {"bandwidth":true,"io.kubernetes.cri.pod-annotations":true,"portMappings":false},
        "namespaceIsolation": true,
        "globalNamespaces": "foobar,barfoo",
        "logToStderr": false,
        "logLevel": "debug",
        "logFile": "/tmp/foobar.log",
        "binDir": "/tmp/add_bin_dir",
        "confDir": "/etc/cni/multus/net.d",
        "readinessindicatorfile": "/var/lib/foobar_indicator",
        "kubeconfig": "/etc/foobar_kubeconfig",
        "delegates": [
"#;
    assert!(text.starts_with(expected), "{text}");
    plan::NetConf::parse(text.as_bytes()).unwrap();
}

#[test]
fn capabilities_of_a_list_are_those_of_its_plugins() {
    let node = Node::with_primary(
        "10-a.conflist",
        r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a","capabilities":{"ips":true}},{"type":"b","capabilities":{"mac":true}}]}"#,
    );
    let (_, text) = generated(&node, &[]).unwrap();
    assert!(text.contains(r#"{"io.kubernetes.cri.pod-annotations":true,"ips":true,"mac":true}"#), "{text}");
}

#[test]
fn versions_must_agree_unless_forced() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    assert_eq!(
        generated(&node, &["--cni-version=1.0.0"]).unwrap_err(),
        "Multus cni version is \"1.0.0\" while master plugin cni version is \"0.3.1\""
    );
    let (name, text) = generated(&node, &["--cni-version=1.0.0", "--force-cni-version"]).unwrap();
    assert_eq!(name, "00-multus.conflist");
    assert_eq!(text.matches("\"1.0.0\"").count(), 2, "{text}");
    assert_eq!(node.conf("10-testcni.conf"), OLD_PRIMARY);
}

#[test]
fn the_primary_is_the_named_file_or_the_first_that_is_one() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    node.write("00-multus.conflist", r#"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"multus"}]}"#);
    node.write("05-other.json", NEW_PRIMARY);
    node.write("20-second.conf", &OLD_PRIMARY.replace("test1", "second"));
    assert!(generated(&node, &[]).unwrap().1.contains("test1"));
    let named = generated(&node, &["--multus-master-cni-file-name=20-second.conf"]).unwrap();
    assert!(named.1.contains("second"));
}

#[test]
fn multus_itself_is_never_a_primary_whatever_its_file_is_called() {
    let node = Node::new();
    node.write("01-renamed.conf", r#"{"cniVersion":"0.3.1","name":"x","type":"multus"}"#);
    node.write("02-list.conflist", r#"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"multus-shim"}]}"#);
    let error = generated(&node, &[]).unwrap_err();
    assert_eq!(
        error,
        format!("cannot find valid master CNI config in {:?}", node.path("net.d").display().to_string())
    );
    let error = generated(&node, &["--multus-master-cni-file-name=01-renamed.conf"]).unwrap_err();
    assert!(error.contains("calls multus itself"), "{error}");
    node.write("10-testcni.conf", OLD_PRIMARY);
    assert!(generated(&node, &[]).unwrap().1.contains("test1"));
}

#[test]
fn bridges_of_other_programs_and_loopback_are_passed_over() {
    let node = Node::with_primary("99-real.conf", OLD_PRIMARY);
    node.write("11-crio.conflist", r#"{"cniVersion":"1.0.0","name":"crio","plugins":[{"type":"bridge"}]}"#);
    node.write(
        "87-podman-bridge.conflist",
        r#"{"cniVersion":"0.4.0","name":"podman","plugins":[{"type":"bridge"}]}"#,
    );
    node.write("98-loopback.conf", r#"{"cniVersion":"0.3.1","name":"lo","type":"loopback"}"#);
    assert!(generated(&node, &[]).unwrap().1.contains("test1"));
    let named = generated(&node, &["--multus-master-cni-file-name=11-crio.conflist"]);
    assert!(named.unwrap().1.contains("crio"), "a named file is taken at its word");
}

#[test]
fn primaries_that_cannot_be_used_are_named() {
    for text in [
        "",
        "{",
        "[]",
        "7",
        "{}",
        "{\"type\":\"a\"}",
        "{\"type\":\"a\",\"cniVersion\":7}",
        "{\"type\":\"a\",\"cniVersion\":\"0.3.1\",\"capabilities\":{\"a\":\"yes\"}}",
        "{\"cniVersion\":\"1.0.0\",\"plugins\":[1]}",
    ] {
        let node = Node::with_primary("10-a.conf", text);
        let error = generated(&node, &[]).unwrap_err();
        assert!(error.contains("10-a.conf"), "{text:?}: {error}");
    }
}

#[test]
fn the_kubeconfig_has_upstreams_bytes_and_follows_the_token() {
    let node = Node::new();
    let options = node.options(&[]);
    assert!(kubeconfig::follow(&options).unwrap());
    assert!(!kubeconfig::follow(&options).unwrap());
    let text = node.conf("multus.d/multus.kubeconfig");
    let expected = "# Kubeconfig file for Multus CNI plugin.\napiVersion: v1\nkind: Config\nclusters:\n- name: local\n  cluster:\n    \
         server: https://[fd00::1]:6443\n    certificate-authority-data: Q0E=\nusers:\n- name: multus\n  user:\n    \
         token: \"t0ken\"\ncontexts:\n- name: multus-context\n  context:\n    cluster: local\n    user: multus\n\
         current-context: multus-context\n";
    assert_eq!(text, expected);
    let path = options.kubeconfig_path();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    fs::write(node.path("account/token"), "fresh").unwrap();
    assert!(kubeconfig::follow(&options).unwrap());
    let access = kube_cluster::kubeconfig::Access::read(&path).unwrap();
    assert_eq!(access.credentials, kube_cluster::kubeconfig::Credentials::Token("fresh".to_owned()));
    assert!(kubeconfig::follow(&node.options(&["--skip-tls-verify"])).unwrap());
    assert!(node.conf("multus.d/multus.kubeconfig").contains("insecure-skip-tls-verify: true"));
}

fn installed<'a>(node: &'a Node, more: &[&str], say: &'a dyn Fn(&str)) -> Installation<'a> {
    let (stop, _sender) = Stop::by_hand().unwrap();
    let mut installation = Installation::new(node.options(more), say).unwrap();
    installation.install(&stop).unwrap();
    installation
}

#[test]
fn everything_is_installed() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    node.write("00-multus.conflist", "stale");
    let say = node.say();
    installed(&node, &[], &say);
    assert_eq!(fs::read(node.path("bin/multus")).unwrap(), b"program");
    assert_eq!(node.names(), ["00-multus.conf", "10-testcni.conf", "multus.d"], "the stale form is gone");
    assert!(node.path("multus-net.d").is_dir());
    assert!(node.has_said("multus config file is created."));
}

#[test]
fn the_program_is_left_alone_on_request() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    installed(&node, &["--skip-multus-binary-copy"], &say);
    assert!(!node.path("bin/multus").exists());
}

#[test]
fn a_lost_truncated_or_renamed_configuration_is_put_back() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    for flags in [&[][..], &["--skip-config-watch"]] {
        let mut installation = installed(&node, flags, &say);
        let text = node.conf("00-multus.conf");
        let inode = fs::metadata(node.path("net.d/00-multus.conf")).unwrap().ino();
        installation.look().unwrap();
        assert_eq!(fs::metadata(node.path("net.d/00-multus.conf")).unwrap().ino(), inode, "not rewritten");
        node.write("00-multus.conf", "");
        installation.look().unwrap();
        assert_eq!(node.conf("00-multus.conf"), text);
        fs::rename(node.path("net.d/00-multus.conf"), node.path("net.d/00-multus.conf.cilium_bak")).unwrap();
        installation.look().unwrap();
        assert_eq!(node.conf("00-multus.conf"), text);
    }
}

#[test]
fn a_changed_primary_is_followed_and_a_broken_or_lost_one_changes_nothing() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    let mut installation = installed(&node, &[], &say);
    let text = node.conf("00-multus.conf");
    node.write("10-testcni.conf", "{\"cniVersion\":");
    installation.look().unwrap();
    assert_eq!(node.conf("00-multus.conf"), text);
    fs::remove_file(node.path("net.d/10-testcni.conf")).unwrap();
    node.write("05-new.conf", &OLD_PRIMARY.replace("test1", "other"));
    installation.look().unwrap();
    assert_eq!(node.conf("00-multus.conf"), text, "never switched silently");
    assert!(node.has_said("waiting for its restoration..."));
    node.write("10-testcni.conf", NEW_PRIMARY);
    installation.look().unwrap();
    assert!(node.conf("00-multus.conflist").contains("1.0.0"));
    assert!(!node.path("net.d/00-multus.conf").exists());
}

#[test]
fn the_primary_is_moved_aside_on_request() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    let mut installation = installed(&node, &["--rename-conf-file"], &say);
    assert_eq!(node.names(), ["00-multus.conf", "10-testcni.conf.old", "multus.d"]);
    installation.look().unwrap();
    assert_eq!(node.names(), ["00-multus.conf", "10-testcni.conf.old", "multus.d"]);
}

#[test]
fn a_given_configuration_is_copied_and_never_an_empty_one() {
    let node = Node::new();
    let source = node.path("70-mine.conf");
    fs::write(&source, OLD_PRIMARY).unwrap();
    let say = node.say();
    let mut installation = installed(&node, &[&format!("--multus-conf-file={}", source.display())], &say);
    assert_eq!(node.conf("70-mine.conf"), OLD_PRIMARY);
    fs::write(&source, "\n").unwrap();
    assert!(installation.look().unwrap_err().contains("empty"));
    assert_eq!(node.conf("70-mine.conf"), OLD_PRIMARY);
}

#[test]
fn the_configuration_goes_at_the_end_on_request_only() {
    for (flags, left) in [(&[][..], true), (&["--cleanup-config-on-exit"], false)] {
        let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
        let (stop, sender) = Stop::by_hand().unwrap();
        drop(sender);
        keep(node.options(flags), &stop, &node.say()).unwrap();
        assert_eq!(node.path("net.d/00-multus.conf").exists(), left);
        assert!(node.path("bin/multus").exists() && node.path("net.d/multus.d/multus.kubeconfig").exists());
    }
}

#[test]
fn q34_the_token_is_followed_without_any_flag_and_a_passing_fault_ends_nothing() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let (stop, sender) = Stop::by_hand().unwrap();
    let options = node.options(&[]);
    let (token, kubeconfig) = (node.path("account/token"), options.kubeconfig_path());
    let (tell, said) = std::sync::mpsc::channel::<String>();
    let wait_for = |text: &str| loop {
        let line = said.recv_timeout(Duration::from_secs(20)).unwrap();
        if line.contains(text) {
            return;
        }
    };
    std::thread::scope(|scope| {
        let kept = scope.spawn(move || keep(options, &stop, &|line| drop(tell.send(line.to_owned()))));
        wait_for("Entering watch loop");
        fs::remove_file(&token).unwrap();
        wait_for("cannot read");
        fs::write(&token, "fresh").unwrap();
        wait_for("recreating kubeconfig");
        assert!(fs::read_to_string(&kubeconfig).unwrap().contains("token: \"fresh\""));
        drop(sender);
        kept.join().unwrap().unwrap();
    });
}

#[test]
fn q34_what_is_missing_is_an_error() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let (stop, _sender) = Stop::by_hand().unwrap();
    for (flag, text) in [
        ("--cni-conf-dir=/does/not/exist", "cni-conf-dir is not found: stat /does/not/exist"),
        ("--cni-bin-dir=/does/not/exist", "cni-bin-dir is not found"),
        ("--multus-bin-file=/does/not/exist", "multus-bin-file is not found"),
        ("--multus-conf-file=/does/not/exist", "multus-conf-file is not found"),
    ] {
        let error = keep(node.options(&[flag]), &stop, &|_| {}).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
    fs::remove_file(node.path("account/token")).unwrap();
    assert!(keep(node.options(&[]), &stop, &|_| {}).unwrap_err().contains("token"));
    let Asked::Run(outside) = Options::read(&[], &|_| None).unwrap() else { panic!() };
    let outside = Options { server: outside.server, ..node.options(&[]) };
    assert!(keep(outside, &stop, &|_| {}).unwrap_err().contains("KUBERNETES_SERVICE_HOST"));
}

#[test]
fn a_primary_that_comes_late_is_waited_for() {
    let node = Node::new();
    let (stop, _sender) = Stop::by_hand().unwrap();
    std::thread::scope(|scope| {
        let path = node.path("net.d/10-testcni.conf");
        let options = node.options(&[]);
        let waiting = scope.spawn(move || {
            let mut installation = Installation::new(options, &|_| {}).unwrap();
            installation.install(&stop)
        });
        testbed::wait::until("the kubeconfig", Duration::from_secs(5), || {
            node.path("net.d/multus.d/multus.kubeconfig").exists().then_some(())
        })
        .unwrap();
        fs::write(path, OLD_PRIMARY).unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert!(node.path("net.d/00-multus.conf").exists());
}

#[test]
fn without_a_watch_a_missing_primary_is_an_error_at_once() {
    let node = Node::new();
    let (stop, _sender) = Stop::by_hand().unwrap();
    let error = keep(node.options(&["--skip-config-watch"]), &stop, &|_| {}).unwrap_err();
    assert!(error.starts_with("cannot find valid master CNI config in"), "{error}");
}

#[test]
fn a_stop_ends_the_waiting_for_a_primary() {
    let node = Node::new();
    let (stop, mut sender) = Stop::by_hand().unwrap();
    sender.write_all(b"x").unwrap();
    let started = Instant::now();
    assert!(keep(node.options(&[]), &stop, &|_| {}).is_err());
    assert!(started.elapsed() < Duration::from_secs(5));
}

fn leave(dir: &Path) {
    let pod = PodRef { namespace: "ns".to_owned(), name: "a".to_owned(), uid: Some("u".to_owned()) };
    let record = Record { pod, status: Some("[]".to_owned()), events: Vec::new() };
    engine::spool::leave(dir, "container1", &record).unwrap();
}

#[test]
fn records_in_the_spool_are_made_when_the_api_server_is_back() {
    let mut api = FakeApi::tls().unwrap();
    api.add_pod_with("ns", "a", "u", &[]);
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap();
    let path = dir.path().join("spool");
    leave(&path);
    let said = RefCell::new(Vec::new());
    let say = |line: &str| said.borrow_mut().push(line.to_owned());
    api.refuse();
    Spool::new(path.clone(), kubeconfig.clone()).drain(&say);
    assert!(path.join("container1").exists());
    assert!(said.borrow()[0].contains("stays in the spool"), "{said:?}");
    api.resume().unwrap();
    Spool::new(path.clone(), kubeconfig).drain(&say);
    assert!(!path.join("container1").exists());
    assert_eq!(api.annotation("ns", "a", plan::STATUS_ANNOTATION).as_deref(), Some("[]"));
}
