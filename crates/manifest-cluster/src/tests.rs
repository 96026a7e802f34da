use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use plan::{EventKind, PlanEvent};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations:\n    k8s.v1.cni.cncf.io/networks: storage\n";
const NAD: &str = "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata:\n  name: storage\nspec:\n  config: |\n    { \"type\": \"bridge\" }\n";

struct Bed(tempfile::TempDir);

impl Bed {
    fn new(files: &[(&str, &str)]) -> Self {
        let bed = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            fs::write(bed.path().join(name), text).unwrap();
        }
        bed
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn cluster(&self) -> ManifestCluster {
        ManifestCluster::open(self.path()).unwrap()
    }

    fn look(&self, pod: Option<PodRef>, nads: &[&str]) -> Result<Answer, ClusterError> {
        let nads = nads.iter().map(|name| NadRef::new("default", *name)).collect();
        self.cluster().lookup(&Query { pod, nads, deadline: soon() })
    }

    fn pod(&self, namespace: &str, name: &str) -> Result<Pod, String> {
        match self.look(Some(pod_ref(namespace, name)), &[]).map_err(|error| error.to_string())?.pod {
            PodLookup::Found(pod) => Ok(pod),
            other => Err(format!("{other:?}")),
        }
    }

    fn nad(&self, name: &str) -> NadLookup {
        self.look(None, &[name]).unwrap().nads.into_values().next().unwrap()
    }

    fn missing(&self, name: &str) -> String {
        match self.nad(name) {
            NadLookup::Missing(text) => text,
            other => panic!("{other:?}"),
        }
    }

    fn config(&self, name: &str) -> String {
        match self.nad(name) {
            NadLookup::Found(nad) => nad.config,
            other => panic!("{other:?}"),
        }
    }

    fn record(&self, status: Option<&str>, events: Vec<PlanEvent>) -> Result<Recorded, ClusterError> {
        let record = Record { pod: pod_ref("default", "web"), status: status.map(str::to_owned), events };
        self.cluster().record(&record, soon())
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path().join("default.web.network-status.json")).unwrap())
            .unwrap()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn pod_ref(namespace: &str, name: &str) -> PodRef {
    PodRef { namespace: namespace.to_owned(), name: name.to_owned(), uid: None }
}

#[test]
fn pods_and_nads_in_yaml_and_json_and_several_to_a_file() {
    let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"db","namespace":"prod","uid":"u1"}}
        {"apiVersion":"k8s.cni.cncf.io/v1","kind":"NetworkAttachmentDefinition","metadata":{"name":"empty"},"spec":{}}"#;
    let yaml = format!("# networks\n---\n{NAD}--- # the pod\n{POD}...\n---\n");
    let bed = Bed::new(&[("all.yml", &yaml), ("more.json", json)]);
    let web = bed.pod("default", "web").unwrap();
    assert_eq!(web.annotations["k8s.v1.cni.cncf.io/networks"], "storage");
    assert_eq!(bed.pod("prod", "db").unwrap().uid.as_deref(), Some("u1"));
    assert_eq!(bed.config("storage"), "{ \"type\": \"bridge\" }\n");
    assert_eq!(bed.config("empty"), "");
}

#[test]
fn a_list_holds_several_and_other_kinds_are_passed_over() {
    let indent = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n  -\n{}  -\n{}  - kind: ConfigMap\n",
        indent(POD),
        indent(NAD)
    );
    let bed = Bed::new(&[("list.yaml", &list), ("service.yaml", "kind: Service\n"), ("notes.txt", "{")]);
    assert!(!bed.pod("default", "web").unwrap().annotations.is_empty());
    assert_eq!(bed.config("storage").trim(), r#"{ "type": "bridge" }"#);
    assert!(!bed.missing("other").contains("cannot be read"));
}

#[test]
fn podman_gives_the_containers_name_as_namespace_too() {
    let other = POD.replace("name: web", "name: web\n  namespace: prod");
    let bed = Bed::new(&[("web.yaml", &other)]);
    assert_eq!(bed.pod("web", "web").unwrap().namespace, "prod");
    // A namespace that was really given is not guessed away.
    assert!(bed.pod("staging", "web").unwrap().annotations.is_empty());
    let bed = Bed::new(&[("a.yaml", POD), ("b.yaml", &other)]);
    assert!(bed.pod("prod", "web").is_ok());
    let error = bed.pod("web", "web").unwrap_err();
    assert!(error.contains("a.yaml, b.yaml") && error.contains("leave one"), "{error}");
}

#[test]
fn a_container_that_no_manifest_names_selects_nothing() {
    let bed = Bed::new(&[("web.yaml", POD)]);
    let pod = bed.pod("x", "x").unwrap();
    assert!(pod.annotations.is_empty());
    let record = Record { pod: pod_ref("x", "x"), status: Some("[]".to_owned()), events: vec![] };
    assert_eq!(bed.cluster().record(&record, soon()).unwrap(), Recorded::Written);
    assert_eq!(fs::read_dir(bed.path()).unwrap().count(), 1);
}

#[test]
fn another_uid_is_another_pod() {
    let bed = Bed::new(&[("web.yaml", &POD.replace("name: web", "name: web\n  uid: one"))]);
    let with = |uid: &str| PodRef { uid: Some(uid.to_owned()), ..pod_ref("default", "web") };
    let look = |uid| bed.look(Some(with(uid)), &[]).unwrap().pod;
    assert!(matches!(look("one"), PodLookup::Found(_)));
    assert!(matches!(look("two"), PodLookup::Replaced { found_uid } if found_uid == "one"));
    let record = Record { pod: with("two"), status: None, events: vec![] };
    assert_eq!(bed.cluster().record(&record, soon()).unwrap(), Recorded::PodReplaced);
}

#[test]
fn a_malformed_document_harms_only_who_needs_it() {
    let broken = format!("{POD}---\nkind: Pod\nmetadata:\n  name: [lost\n---\n{NAD}");
    let bed = Bed::new(&[("all.yaml", &broken)]);
    assert!(bed.pod("default", "web").is_ok());
    assert_eq!(bed.config("storage").trim(), r#"{ "type": "bridge" }"#);
    assert!(bed.pod("default", "unrelated").unwrap().annotations.is_empty());
    let error = bed.pod("default", "lost").unwrap_err();
    assert!(error.contains("all.yaml, document 2: not YAML"), "{error}");
    // The broken flow sequence begins in line 10 of the file, and the parser notices at the end of the document.
    assert!(error.contains("line 1"), "{error}");
    let error = bed.missing("other");
    assert!(
        error.starts_with(r#"network-attachment-definitions.k8s.cni.cncf.io "other" not found"#),
        "{error}"
    );
    assert!(error.contains("all.yaml, document 2"), "{error}");
}

#[test]
fn wrong_shapes_are_told_apart() {
    let cases = [
        ("kind: Pod\napiVersion: v2\nmetadata: {name: p}", r#"apiVersion of a Pod is "v1""#),
        ("kind: Pod\nmetadata: {name: p}", "it has no apiVersion"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}", "no metadata.name"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 7}", "metadata.name of the Pod is not a string"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {a: 1}}",
            "annotation a is not a string",
        ),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: [a]}", "annotations is not a mapping"),
        ("apiVersion: v1\nkind: Pod", "the Pod has no metadata"),
        ("hello", "not a Kubernetes object"),
        ("a: 1", "it has no kind"),
        ("a: 1\na: 2", "duplicate"),
        ("kind: List", "a List without items"),
        (
            "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {name: n}\nspec: {config: {type: bridge}}",
            "write `config: |`",
        ),
    ];
    for (text, expected) in cases {
        let error = Bed::new(&[("x.yaml", text)]).missing("wanted");
        assert!(error.contains("x.yaml: ") && error.contains(expected), "{text}: {error}");
    }
    let error = Bed::new(&[("x.json", "{}\n{\"kind\":")]).missing("wanted");
    assert!(error.contains("x.json, document 2: not JSON: line 2"), "{error}");
}

#[test]
fn an_object_defined_twice_is_refused_with_both_places() {
    let bed = Bed::new(&[("a.yaml", NAD), ("b.yaml", &format!("{POD}---\n{NAD}")), ("c.yaml", POD)]);
    let NadLookup::Failed(error) = bed.nad("storage") else { panic!() };
    assert!(error.contains("a.yaml, b.yaml, document 2"), "{error}");
    let error = bed.pod("default", "web").unwrap_err();
    assert!(error.contains("b.yaml, document 1, c.yaml"), "{error}");
}

#[test]
fn hostile_files_are_refused_in_bounded_time() {
    let bombs = [
        "a: ".to_owned() + &"[".repeat(100_000),
        (0..100_000).map(|depth| format!("{}a:\n", " ".repeat(depth % 1000))).collect::<String>(),
        format!("a: &a {}\nb: [{}]", "x".repeat(1_000_000), "*a,".repeat(1000)),
        "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
            + &(b'b'..b'k')
                .map(|key| {
                    let (key, before) = (key as char, (key - 1) as char);
                    format!("{key}: &{key} [{}]\n", vec![format!("*{before}"); 9].join(","))
                })
                .collect::<String>(),
        "---\n".repeat(10) + &"--- a\n".repeat(5000),
        "a".repeat(3_000_000),
        "\0\u{1}".to_owned(),
    ];
    for bomb in &bombs {
        let bed = Bed::new(&[("bomb.yaml", bomb), ("web.yaml", POD)]);
        let start = Instant::now();
        let error = bed.missing("wanted");
        assert!(error.contains("bomb.yaml") && error.len() < 2000, "{error}");
        assert!(bed.pod("default", "web").is_ok());
        assert!(start.elapsed() < Duration::from_secs(20), "{:.40}: {:?}", bomb, start.elapsed());
    }
    let bed = Bed::new(&[("bomb.json", &"[".repeat(100_000))]);
    assert!(bed.missing("wanted").contains("bomb.json: not JSON"));
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let bed = Bed::new(&[("web.yaml", POD), (".hidden.yaml", "{")]);
    let made = std::process::Command::new("mkfifo").arg(bed.path().join("pipe.yaml")).status().unwrap();
    assert!(made.success());
    fs::create_dir(bed.path().join("dir.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", bed.path().join("link.yaml")).unwrap();
    assert!(bed.pod("default", "web").is_ok());
    let error = bed.missing("wanted");
    assert!(
        error.contains("pipe.yaml: not a regular file") && error.contains("link.yaml: a link to nothing"),
        "{error}"
    );
    assert!(!error.contains("hidden") && !error.contains("dir.yaml"), "{error}");
    // Nobody can tell what an unreadable file would say about a pod.
    assert!(bed.pod("default", "other").is_err());
}

#[test]
fn a_directory_that_is_not_there_says_so() {
    let bed = Bed::new(&[]);
    let error = ManifestCluster::open(bed.path().join("lost")).unwrap_err();
    assert!(matches!(error, ClusterError::Config { .. }));
    assert!(error.to_string().contains("/lost: No such file"), "{error}");
    let nothing = bed.look(None, &[]).unwrap();
    assert!(matches!(nothing.pod, PodLookup::NotAsked));
}

#[test]
fn a_deadline_that_is_over_is_kept() {
    let bed = Bed::new(&[("web.yaml", POD)]);
    let query = Query { pod: Some(pod_ref("default", "web")), nads: vec![], deadline: Instant::now() };
    assert!(matches!(bed.cluster().lookup(&query), Err(ClusterError::Unavailable { .. })));
}

#[test]
fn the_status_goes_beside_the_manifest_and_is_no_manifest() {
    let bed = Bed::new(&[("web.yaml", POD)]);
    let event =
        PlanEvent { kind: EventKind::Normal, reason: "AddedInterface".into(), message: "Add eth0".into() };
    let written = bed.record(Some(r#"[{"name":"default/storage","interface":"net1"}]"#), vec![event.clone()]);
    assert_eq!(written.unwrap(), Recorded::Written);
    assert_eq!(bed.status()["networkStatus"][0]["interface"], "net1");
    assert_eq!(bed.status()["events"][0]["reason"], "AddedInterface");
    // Events alone leave the status as it is; a new status replaces the old one.
    bed.record(None, vec![]).unwrap();
    assert_eq!(bed.status()["networkStatus"][0]["interface"], "net1");
    assert_eq!(bed.status()["events"], Value::Array(vec![]));
    bed.record(Some("[]"), vec![event]).unwrap();
    assert_eq!(bed.status()["networkStatus"], Value::Array(vec![]));
    assert!(!bed.missing("other").contains("cannot be read"));
    assert_eq!(fs::read_dir(bed.path()).unwrap().count(), 2, "no temporary file may stay");
}

#[test]
fn a_status_that_cannot_be_written_is_an_error_that_can_be_retried() {
    let bed = Bed::new(&[("web.yaml", POD)]);
    fs::create_dir(bed.path().join("default.web.network-status.json")).unwrap();
    let error = bed.record(Some("[]"), vec![]).unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable { .. }));
    assert!(error.to_string().contains("pod default/web"), "{error}");
    assert_eq!(fs::read_dir(bed.path()).unwrap().count(), 2, "no temporary file may stay");
}

#[test]
fn a_name_that_leads_out_of_the_directory_gets_no_file() {
    let bed = Bed::new(&[("web.yaml", &POD.replace("name: web", "name: ../../web"))]);
    let record = Record { pod: pod_ref("default", "../../web"), status: Some("[]".into()), events: vec![] };
    assert!(matches!(bed.cluster().record(&record, soon()), Err(ClusterError::Config { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any text is answered, and a good document in another file is found all the same.
    #[test]
    fn any_text_is_answered(text in "([ \\-\\[\\]{}:&*a-c\"'|>#%!\n]|---\n|kind: Pod\n|metadata:\n){0,60}", json in any::<bool>()) {
        let name = if json { "any.json" } else { "any.yaml" };
        let bed = Bed::new(&[(name, &text), ("good.yaml", NAD)]);
        prop_assert!(matches!(bed.nad("storage"), NadLookup::Found(_)));
    }
}
