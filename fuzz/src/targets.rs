//! One function for each parser of foreign bytes: it must answer any input, and what it accepts must hold what it promises. The
//! fuzz targets call them with what the fuzzer invents; an ordinary test (`xtask/tests/corpus.rs`) calls them with the corpus.

use libcni::{CniError, CniResult, Entry, Network, SUPPORTED, skel};

/// A network configuration. What was read can be written and read again, as the same network.
pub fn network(data: &[u8]) {
    let Ok(network) = Network::parse(data) else { return };
    let bytes = network.to_bytes();
    let again = Network::parse(&bytes).expect("what we write can be read");
    assert_eq!(again.name, network.name);
    assert_eq!(again.plugins.len(), network.plugins.len());
}

/// A plugin's result, in every version that it can be converted to.
pub fn cni_result(data: &[u8]) {
    let Ok(result) = CniResult::parse(data, "1.0.0") else { return };
    for version in SUPPORTED {
        let Ok(converted) = result.as_version(version) else { continue };
        CniResult::parse(&converted, version).expect("what we convert can be read");
    }
}

/// A file of the result cache.
pub fn cache_entry(data: &[u8]) {
    let Ok(entry) = Entry::parse(data) else { return };
    Entry::parse(&entry.to_bytes()).expect("what we write can be read");
}

/// `CNI_ARGS`.
pub fn cni_args(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(args) = libcni::args::parse(text) else { return };
    let _ = plan::PodIdentity::from_args(&args);
}

/// A runtime's call: the first line is the environment, the rest is standard input.
pub fn call(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let (environment, stdin) = text.split_once('\n').unwrap_or((&text, ""));
    let value = |name: &str| {
        environment.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    if let Err(error) = skel::parse_call(&value, stdin.as_bytes().to_vec()) {
        skel::print_error(&error);
    }
}

/// What a failing plugin prints.
pub fn cni_error(data: &[u8]) {
    if let Ok(error) = CniError::parse(data) {
        CniError::parse(&skel::print_error(&error)).expect("what we print can be read");
    }
}

/// The networks annotation of a pod.
pub fn selection(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = plan::selection::parse(text, plan::selection::Annotation::Networks, "default");
}

/// The meta-plugin's own configuration.
pub fn netconf(data: &[u8]) {
    if let Ok(netconf) = plan::NetConf::parse(data) {
        let _ = netconf.pod_annotations();
    }
}

/// A primary network's file. What is made of it is recognised as ours and unchanged, and never becomes a primary network itself.
pub fn primary(data: &[u8]) {
    use node_config::{Error, Origin, Owner, Primary, Template};
    let _ = Owner::of(data);
    let origin = Origin::File("/etc/cni/net.d/10-fuzz.conf".into());
    let Ok(primary) = Primary::parse(origin.clone(), data.to_vec()) else { return };
    let _ = (primary.belongs_to(), primary.is_made_by("bridge"));
    let owner = Some("kube-system/multus".to_owned());
    let template = Template { plugin_type: "multus".to_owned(), owner, ..Template::default() };
    let Ok(made) = template.generate(&primary) else { return };
    assert!(matches!(Owner::of(made.text.as_bytes()), Owner::Marked { intact: true, .. }));
    assert!(matches!(Primary::parse(origin, made.text.into_bytes()), Err(Error::Circular(_))));
}

/// A network-status annotation. What was read can be written and read again.
pub fn status(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(entries) = plan::status::parse(text) else { return };
    for mode in [plan::SpecMode::Compat, plan::SpecMode::Strict] {
        plan::status::parse(&plan::status::text(&entries, mode)).expect("what we write can be read");
    }
}

/// A journal, ours or upstream's.
pub fn journal(data: &[u8]) {
    let _ = attach::parse_journal(data);
}

/// A file of manifests: a lookup in a directory that holds nothing else, for a pod and a network that no file names.
pub fn manifest(data: &[u8]) {
    use engine::Cluster;
    let dir = tempfile::tempdir().expect("a directory for the manifest");
    std::fs::write(dir.path().join("fuzz.yaml"), data).expect("write the manifest");
    let cluster = manifest_cluster::ManifestCluster::open(dir.path()).expect("the directory is there");
    let _ = cluster.lookup(&engine::Query {
        pod: Some(engine::PodRef { namespace: "default".to_owned(), name: "web".to_owned(), uid: None }),
        nads: vec![plan::NadRef::new("default", "lan")],
        deadline: std::time::Instant::now() + std::time::Duration::from_secs(10),
    });
}

/// A kubeconfig.
pub fn kubeconfig(data: &[u8]) {
    let _ = kube_cluster::kubeconfig::Access::parse(data, std::path::Path::new("/nowhere"));
}

/// A CertificateSigningRequest, as an object of the API or in DER. None is approved that does not name Multus.
pub fn signing_request(data: &[u8]) {
    use kube_cluster::approval::{SigningRequest, Verdict, common_names};
    let _ = common_names(data);
    let Ok(request) = serde_json::from_slice::<SigningRequest>(data) else { return };
    if let Verdict::Approve { node } = request.judge() {
        assert!(!node.is_empty() && String::from_utf8_lossy(data).contains(&node));
    }
}

/// The kubelet's checkpoint of allocated devices.
pub fn checkpoint(data: &[u8]) {
    let _ = kube_cluster::checkpoint::parse(data, "uid1");
}

/// A list and a watch of an API server, whole and in small parts. What is handed out must not depend on where the bytes were split.
pub fn watch_stream(data: &[u8]) {
    use kube_cluster::watch::stream::{Items, Lines, Piece, event};
    /// Larger ones are passed over.
    const LARGEST: usize = 512;
    let take = |cut: &mut Vec<Result<Vec<u8>, usize>>, piece: Piece<'_>| match piece {
        Piece::Whole(bytes) => {
            assert!(bytes.len() <= LARGEST);
            cut.push(Ok(bytes.to_vec()));
        }
        Piece::TooLarge(bytes) => cut.push(Err(bytes)),
    };
    let lines = |size: usize| {
        let (mut lines, mut cut) = (Lines::new(LARGEST), Vec::new());
        data.chunks(size).for_each(|chunk| lines.feed(chunk, &mut |piece| take(&mut cut, piece)));
        cut
    };
    let whole = lines(data.len().max(1));
    assert_eq!(whole, lines(7));
    for line in whole.into_iter().flatten() {
        if let Ok((kind, object)) = event(&line)
            && serde_json::from_slice::<serde_json::Value>(object).is_ok()
        {
            // In another order of its keys it says the same.
            let turned = [b"{\"object\":", object, b",\"type\":", type_of(&line).as_bytes(), b"}"].concat();
            assert_eq!(event(&turned).expect("the same event").0, kind);
        }
    }
    let list = |size: usize| {
        let (mut items, mut cut) = (Items::new(LARGEST), Vec::new());
        let fed =
            data.chunks(size).try_for_each(|chunk| items.feed(chunk, &mut |piece| take(&mut cut, piece)));
        (cut, fed.and_then(|()| items.finish()).ok())
    };
    let (cut, page) = list(data.len().max(1));
    assert_eq!((&cut, &page), (&list(7).0, &list(7).1));
    if let (Some(items), false) = (items_of(data), data.contains(&b'\\')) {
        assert!(page.is_some(), "a list is read as one");
        assert_eq!(cut.len(), items);
    }
}

/// The type of a watch event, in JSON.
fn type_of(line: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
    value["type"].to_string()
}

/// How many items a list has, when it is one.
fn items_of(data: &[u8]) -> Option<usize> {
    #[derive(serde::Deserialize)]
    struct List {
        kind: String,
        metadata: Metadata,
        items: Vec<serde_json::Map<String, serde_json::Value>>,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        #[serde(rename = "resourceVersion")]
        resource_version: String,
        #[serde(default, rename = "continue")]
        _next: Option<String>,
    }
    let list: List = serde_json::from_slice(data).ok()?;
    let is_one =
        list.kind.ends_with("List") && !list.metadata.resource_version.is_empty() && data.len() < 64 << 10;
    is_one.then_some(list.items.len())
}

/// What answers at the daemon's socket. A body keeps within its bound.
pub fn http_response(data: &[u8]) {
    const LARGEST: usize = 4096;
    if let Ok(response) = protocol::http::read_response(&mut &*data, LARGEST) {
        assert!(response.body.len() <= LARGEST);
    }
}

/// What a shim sends to the daemon: a lookup or a record. What was read can be written and read again.
pub fn shim_request(data: &[u8]) {
    use protocol::message::{Envelope, Lookup, Record};
    let _ = serde_json::from_slice::<Envelope>(data);
    if let Ok(lookup) = serde_json::from_slice::<Lookup>(data) {
        let again = serde_json::to_vec(&lookup).expect("a lookup can be written");
        assert_eq!(serde_json::from_slice::<Lookup>(&again).expect("and read"), lookup);
    }
    if let Ok(record) = serde_json::from_slice::<Record>(data) {
        let again = serde_json::to_vec(&record).expect("a record can be written");
        assert_eq!(serde_json::from_slice::<Record>(&again).expect("and read"), record);
        let _ = engine::Record::from(record);
    }
}

/// What the daemon answers to a shim that asked for a pod and two networks.
pub fn daemon_answer(data: &[u8]) {
    use protocol::message::{Failure, Found, Recorded};
    let _ = serde_json::from_slice::<Recorded>(data);
    if let Ok(failure) = serde_json::from_slice::<Failure>(data) {
        let _ = failure.into_error("look up").to_string();
    }
    let Ok(found) = serde_json::from_slice::<Found>(data) else { return };
    let query = engine::Query {
        pod: Some(engine::PodRef { namespace: "test".to_owned(), name: "pod".to_owned(), uid: None }),
        nads: vec![plan::NadRef::new("test", "lan"), plan::NadRef::new("test", "wan")],
        deadline: std::time::Instant::now(),
    };
    if let Ok(answer) = found.into_answer(&query) {
        assert_eq!(answer.nads.len(), 2);
    }
}

/// What upstream's shim sends to the daemon.
pub fn upstream_request(data: &[u8]) {
    if let Ok(request) = protocol::upstream::Request::parse(data) {
        let _ = request.variable("CNI_COMMAND");
        let again =
            protocol::upstream::Request::parse(&request.to_bytes()).expect("what we write can be read");
        assert_eq!(again, request);
    }
}

/// What upstream's daemon answers.
pub fn upstream_answer(data: &[u8]) {
    let _ = protocol::upstream::error_of(400, data);
    if let Ok(result) = protocol::upstream::result_of(data) {
        let _ = CniResult::parse(result.get().as_bytes(), "1.1.0");
    }
}

/// The daemon's configuration. What goes from it into the CNI configuration is an object.
pub fn daemon_config(data: &[u8]) {
    if let Ok(config) = daemon::Config::parse(data) {
        libcni::Object::parse(&config.netconf.to_bytes()).expect("what we write can be read");
    }
}
