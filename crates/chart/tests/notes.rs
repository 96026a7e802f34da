//! What a person reads after an install: the notes, without a cluster at hand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;

use chart::helm::Helm;

const UPSTREAM: &str = "image.repository=ghcr.io/k8snetworkplumbingwg/multus-cni";

/// The notes for a cluster of this version, with these values.
fn notes(version: &str, files: &[&str], sets: &[&str]) -> String {
    notes_where_served(&[], version, files, sets)
}

/// The same where the cluster serves further APIs.
fn notes_where_served(apis: &[&str], version: &str, files: &[&str], sets: &[&str]) -> String {
    notes_with(&serde_json::json!({}), apis, version, files, sets)
}

/// The same with values for the chart around ours: `nodes`, that a cluster would have.
fn notes_with(
    around: &serde_json::Value,
    apis: &[&str],
    version: &str,
    files: &[&str],
    sets: &[&str],
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let source = chart::dir("multus").join("tests/notes");
    fs::create_dir_all(folder.path().join("templates")).unwrap();
    for file in ["Chart.yaml", "templates/notes.yaml"] {
        fs::copy(source.join(file), folder.path().join(file)).unwrap();
    }
    fs::create_dir(folder.path().join("charts")).unwrap();
    symlink(chart::dir("multus"), folder.path().join("charts/multus")).unwrap();
    let values = folder.path().join("around.yaml");
    fs::write(&values, around.to_string()).unwrap();
    let mut arguments = vec!["--kube-version".to_owned(), version.to_owned()];
    arguments.extend(["--values".to_owned(), values.display().to_string()]);
    arguments.extend(apis.iter().flat_map(|api| ["--api-versions".to_owned(), (*api).to_owned()]));
    for file in files {
        // One level down, since multus is a dependency here.
        let text = fs::read_to_string(testbed::parts::workspace().join("examples").join(file)).unwrap();
        let nested: String = text.lines().map(|line| format!("  {line}\n")).collect();
        let path = folder.path().join(format!("nested-{file}"));
        fs::write(&path, format!("multus:\n{nested}")).unwrap();
        arguments.extend(["--values".to_owned(), path.display().to_string()]);
    }
    arguments.extend(sets.iter().flat_map(|set| ["--set".to_owned(), format!("multus.{set}")]));
    arguments.extend(["--show-only".to_owned(), "templates/notes.yaml".to_owned()]);
    // Helm 4, which keeps a version's suffix.
    let said = Helm::four().unwrap().template(folder.path(), &arguments).unwrap();
    assert!(said.success, "{}", said.stderr);
    said.stdout.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn assert_has(notes: &str, words: &[&str]) {
    let flat = notes.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(flat.contains(word), "{word:?} is not in\n{notes}");
    }
}

#[test]
fn they_tell_what_was_chosen_and_why_and_how_to_check_and_remove_it() {
    let notes = notes("v1.34.4", &[], &["platform=k3s"]);
    assert_has(
        &notes,
        &[
            "multus-rs 4.0.0 in thick mode",
            "k3s: platform is set",
            "/var/lib/rancher/k3s/agent/etc/cni/net.d",
            "/var/lib/rancher/k3s/data/cni",
            "reference plugins v1.9.1",
            "of this release; it stays on uninstall",
            "kubectl get daemonset -n kube-system | grep multus",
            "kubectl get pods -n kube-system | grep multus",
            "kubectl get configmap -n kube-system | grep multus",
            "helm test multus -n kube-system",
            "helm uninstall multus -n kube-system",
        ],
    );
    assert!(!notes.contains("BEFORE YOU GO ON"), "{notes}");
}

#[test]
fn the_users_files_as_they_are_get_what_their_image_needs_to_be_told() {
    let notes = notes("v1.34.4", &["values-multus.yaml"], &[]);
    assert_has(
        &notes,
        &[
            "Upstream's Multus 4.0.0 in thin mode",
            "v4.0.2",
            "rollout restart",
            "rm /etc/cni/net.d/00-multus.conf*",
        ],
    );
}

#[test]
fn both_namespaces_are_told_where_they_differ() {
    let notes = notes("v1.34.4", &[], &["network.namespace=multus"]);
    assert_has(&notes, &["multus (network.namespace); the release itself is in kube-system"]);
}

#[test]
fn the_usual_folders_on_k3s_and_k3s_folders_elsewhere_are_pointed_out() {
    let usual = notes("v1.34.4+k3s1", &["values-multus.yaml"], &[]);
    assert_has(
        &usual,
        &[
            "This is k3s",
            "will wait there for a network that does not come",
            "-f values-multus-k3s.yaml",
            "k3s.disableFlannel: true",
        ],
    );
    let right = notes("v1.34.4+k3s1", &["values-multus.yaml", "values-multus-k3s.yaml"], &[]);
    assert!(!right.contains("This is k3s"), "{right}");
    let folders = ["cni.configDir=/mnt/k3s/agent/etc/cni/net.d", "cni.binDir=/mnt/k3s/data/cni"];
    assert_has(&notes("v1.34.4+k3s1", &[], &folders), &["its --data-dir is elsewhere, platform: k3s"]);
    let moved = notes("v1.34.4+k3s1", &[], &[&folders[..], &["platform=k3s"]].concat());
    assert!(!moved.contains("BEFORE YOU GO ON"), "{moved}");
    let elsewhere = notes("v1.34.4+rke2r1", &["values-multus-k3s.yaml"], &[]);
    assert_has(&elsewhere, &["the cluster's version (v1.34.4+rke2r1) is not k3s'"]);
}

#[test]
fn nodes_of_a_platform_that_nobody_named_are_pointed_out() {
    for (platform, node) in [
        ("kind", r#"{"spec": {"providerID": "kind://docker/kind/kind-worker"}}"#),
        ("talos", r#"{"status": {"nodeInfo": {"osImage": "Talos (v1.11.2)"}}}"#),
        ("bottlerocket", r#"{"status": {"nodeInfo": {"osImage": "Bottlerocket OS 1.26.1 (aws-k8s-1.31)"}}}"#),
        ("microk8s", r#"{"metadata": {"labels": {"microk8s.io/cluster": "true"}}}"#),
        ("aks", r#"{"metadata": {"labels": {"kubernetes.azure.com/cluster": "MC_a_b_c"}}}"#),
    ] {
        let mut node: serde_json::Value = serde_json::from_str(node).unwrap();
        node["metadata"]["name"] = "worker-1".into();
        let nodes = serde_json::json!({"nodes": [node]});
        let unsaid = notes_with(&nodes, &[], "v1.34.4", &[], &[]);
        assert_has(&unsaid, &["node worker-1 is one of", &format!("Set platform: {platform}")]);
        let said = notes_with(&nodes, &[], "v1.34.4", &[], &[&format!("platform={platform}")]);
        assert!(!said.contains("worker-1"), "{said}");
    }
    let plain = serde_json::json!({"nodes": [{"metadata": {"name": "worker-1"}}]});
    assert!(!notes_with(&plain, &[], "v1.34.4", &[], &[]).contains("worker-1"));
}

/// Uninstalling the release of RKE2 takes the CRD along, and every NAD with it.
#[test]
fn whoever_is_to_uninstall_another_multus_is_told_to_save_the_nads() {
    let other = serde_json::json!({"daemonSets": [{
        "metadata": {"name": "rke2-multus", "namespace": "kube-system", "annotations":
            {"meta.helm.sh/release-name": "rke2-multus", "meta.helm.sh/release-namespace": "kube-system"}},
        "spec": {"template": {"spec": {"containers": [{"image": "rancher/hardened-multus-cni:v4.2.3"}]}}},
    }]});
    let notes = notes_with(&other, &[], "v1.34.4", &[], &[]);
    assert_has(
        &notes,
        &[
            "the DaemonSet rke2-multus in namespace kube-system",
            "save the NADs before, see docs/install.md",
            "helm -n kube-system uninstall rke2-multus",
        ],
    );
}

#[test]
fn openshift_is_told_that_it_has_multus_already() {
    let unsaid = notes_where_served(&["security.openshift.io/v1"], "v1.34.4", &[], &[]);
    assert_has(&unsaid, &["This is OpenShift", "platform: openshift"]);
    assert_has(&notes("v1.34.4", &[], &["platform=openshift"]), &["network operator already runs Multus"]);
}

#[test]
fn what_is_left_to_others_is_told() {
    let notes = notes("v1.34.4", &[], &["crds.install=false", "rbac.create=false"]);
    assert_has(&notes, &["not installed (crds.install)", "rbac.create is false"]);
}

#[test]
fn upstreams_thick_mode_is_told_what_the_limits_of_the_document_do_to_it() {
    let notes = notes("v1.34.4", &["values-multus.yaml"], &["image.tag=v4.3.0-thick"]);
    assert_has(
        &notes,
        &[
            "resources.limits.cpu",
            "4 to 7 times as long",
            "resources.limits.memory",
            "whenever its pod stops",
        ],
    );
    assert_has(&notes, &["\"bridge\" is not the name of a file"]);
}

#[test]
fn moving_tags_are_told() {
    assert_has(
        &notes("v1.34.4", &[], &[UPSTREAM, "image.tag=snapshot-thick"]),
        &["image.tag: snapshot-thick is another image tomorrow"],
    );
    assert_has(&notes("v1.34.4", &[], &[UPSTREAM, "image.tag=v4.2.1"]), &["v4.2.1", "v4.2.2 or later"]);
}

#[test]
fn missing_plugins_and_nads_that_wait_are_told() {
    let sets = ["platform=k3s", "referencePlugins.enabled=false", "networkAttachmentDefinitions[0].name=a"];
    assert_has(
        &notes("v1.34.4", &[], &sets),
        &["comes without macvlan", "1 are not created yet", "helm upgrade multus"],
    );
}
