//! No value is dead: each is in the schema, in both tables, in a template and in a test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use chart::helm::Helm;
use chart::{case, values};
use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(chart::dir("multus").join(path)).unwrap()
}

fn templates(dir: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        all += &if path.is_dir() { templates(&path) } else { fs::read_to_string(path).unwrap() };
    }
    all
}

#[test]
fn every_value_is_in_schema_tables_templates_and_tests() {
    let entries = values::read(&read("values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let tables = [read("README.md"), read("README.zh-CN.md")];
    let templates = templates(&chart::dir("multus").join("templates"));
    let cases = case::all().unwrap();
    let set: Vec<Value> = cases.values().flat_map(|case| case.values().unwrap()).collect();
    for (path, entry) in values::flat(&entries) {
        let pointer = format!("/properties/{}", path.replace('.', "/properties/"));
        assert!(schema.pointer(&pointer).is_some(), "{path} is not in the schema");
        for table in &tables {
            assert!(table.contains(&format!("| {path} |")), "{path} is not in a README");
        }
        assert!(is_used(&templates, &path), "no template uses {path}");
        let pointer = format!("/{}", path.replace('.', "/"));
        let is_set = |values: &Value| values.pointer(&pointer).is_some_and(|set| *set != entry.default);
        assert!(set.iter().any(is_set), "no case sets {path} to anything but its default");
    }
}

/// By its whole name, by a section that was taken into a variable before, or by its name in a list of such.
fn is_used(templates: &str, path: &str) -> bool {
    let parts: Vec<&str> = path.split('.').collect();
    let by_tail = (0..parts.len()).any(|from| templates.contains(&format!(".{}", parts[from..].join("."))));
    by_tail || parts.last().is_some_and(|last| templates.contains(&format!("\"{last}\"")))
}

#[test]
fn the_users_files_and_snippet_are_as_in_the_document() {
    let workspace = testbed::parts::workspace();
    let example = |name: &str| fs::read_to_string(workspace.join("examples").join(name)).unwrap();
    let multus = example("values-multus.yaml");
    for line in [
        "  repository: ghcr.io/k8snetworkplumbingwg/multus-cni",
        "  tag: v4.0.0",
        "  configDir: \"/etc/cni/net.d\"",
        "  binDir: \"/opt/cni/bin\"",
        "  configFile: \"00-multus.conf\"",
        "  defaultNetwork: \"bridge\"",
        "  namespace: \"kube-system\"",
        "    cpu: 100m",
        "    memory: 50Mi",
        "nodeSelector: {}",
        "  - effect: NoSchedule",
    ] {
        assert!(multus.lines().any(|found| found == line), "{line:?}");
    }
    let k3s = example("values-multus-k3s.yaml");
    assert!(
        k3s.contains("binDir: \"/var/lib/rancher/k3s/data/current/bin\"")
            && k3s.contains("disableFlannel: false")
    );
    let main = example("main-chart/Chart.yaml");
    for line in ["version: \"4.0.0\"", "repository: \"file://../multus\"", "condition: multus.enabled"] {
        assert!(main.contains(line), "{line:?}");
    }
    assert_eq!(fs::read_link(workspace.join("examples/multus")).unwrap(), Path::new("../charts/multus"));
}

/// Identical content does not conflict with whoever else brings the CRD.
#[test]
fn the_crd_is_upstreams_text() {
    let ours = read("files/network-attachment-definitions.yaml");
    let other =
        fs::read_to_string(chart::dir("multus-crds").join("crds/network-attachment-definitions.yaml"));
    assert_eq!(other.unwrap(), ours);
    let source = testbed::parts::upstream_source(testbed::parts::UPSTREAM_VERSION).unwrap();
    let theirs = fs::read_to_string(source.join("deployments/multus-daemonset-thick.yml")).unwrap();
    assert!(theirs.contains(&ours), "upstream's CRD is another one");
}

#[test]
fn the_charts_carry_the_version_that_main_charts_name() {
    for name in ["multus", "multus-crds"] {
        let metadata = fs::read_to_string(chart::dir(name).join("Chart.yaml")).unwrap();
        assert!(
            metadata.contains("\nversion: 4.0.0\n") && metadata.contains("\nappVersion: v4.0.0\n"),
            "{name}"
        );
    }
}

/// `--set resources=null` is how a value of an earlier file is taken back.
#[test]
fn a_value_that_is_taken_back_by_null_is_as_if_nobody_had_set_it() {
    let entries = values::read(&read("values.yaml")).unwrap();
    let mut nothing = Value::Null;
    for (path, _) in values::flat(&entries) {
        let mut section = &mut nothing;
        for key in path.split('.') {
            section = &mut section[key];
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nothing.yaml");
    fs::write(&file, nothing.to_string()).unwrap();
    for helm in Helm::both().unwrap() {
        let render = |more: &[&str]| {
            let arguments = [&["--kube-version", "v1.34.4"], more].concat();
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            let said = helm.template(&chart::dir("multus"), &arguments).unwrap();
            assert!(said.success, "{}", said.stderr);
            said.stdout
        };
        assert_eq!(render(&["--values", file.to_str().unwrap()]), render(&[]), "Helm {}", helm.major);
    }
}

/// Release `123` in namespace `1234`: what looks like a number, or like true, is text all the same.
#[test]
fn names_labels_and_annotations_are_text_whatever_they_look_like() {
    let chart = chart::dir("multus").display().to_string();
    for helm in Helm::both().unwrap() {
        for (release, namespace) in [("123", "1234"), ("true", "1e3")] {
            let sets = "network.namespace=,serviceAccount.name=77,crds.install=auto,platform=openshift,\
                        networkAttachmentDefinitions[0].name=5,networkAttachmentDefinitions[0].namespace=6";
            let cluster = ["--kube-version", "v1.34.4", "--api-versions", "k8s.cni.cncf.io/v1"];
            let arguments = ["template", release, &chart, "--namespace", namespace, "--set-string", sets];
            let arguments = [&arguments[..], &cluster].concat();
            let said = helm.run(&arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()).unwrap();
            assert!(said.success, "{}", said.stderr);
            let objects: Vec<Value> = serde_saphyr::from_multiple(&said.stdout).unwrap();
            let mut numbers = Vec::new();
            for object in objects.iter().filter(|object| object.is_object()) {
                not_text(object, &mut Vec::new(), &mut numbers);
            }
            assert!(numbers.is_empty(), "Helm {}, {release}: {numbers:?}", helm.major);
        }
    }
}

/// Names, namespaces, labels and annotations below `value` that are no text.
fn not_text(value: &Value, path: &mut Vec<String>, found: &mut Vec<String>) {
    if let Some(map) = value.as_object() {
        for (key, value) in map {
            path.push(key.clone());
            let is_name = ["name", "namespace", "serviceAccountName"].contains(&key.as_str());
            let above =
                path.iter().rev().nth(1).is_some_and(|above| above == "labels" || above == "annotations");
            if (is_name || above) && !value.is_string() && !value.is_object() {
                found.push(path.join("."));
            }
            not_text(value, path, found);
            path.pop();
        }
    }
    for value in value.as_array().into_iter().flatten() {
        not_text(value, path, found);
    }
}
