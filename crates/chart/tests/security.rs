//! The table of rights in `docs/security.md` says what the chart renders, rule by rule, for each engine and mode.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use chart::helm::Helm;
use serde_json::Value;

const BEGIN: &str = "<!-- rbac:";
const END: &str = "<!-- /rbac -->";
/// The table's columns after the first, and what is set for them.
const COLUMNS: [(&str, &[&str]); 4] = [
    ("ours, thick", &["engine=multus-rs", "mode=thick"]),
    ("ours, thin", &["engine=multus-rs", "mode=thin"]),
    ("upstream's, thick", &["image.repository=ghcr.io/k8snetworkplumbingwg/multus-cni", "mode=thick"]),
    ("upstream's, thin", &["image.repository=ghcr.io/k8snetworkplumbingwg/multus-cni", "mode=thin"]),
];
/// A row that begins so is about OpenShift alone.
const OPENSHIFT: &str = "security.openshift.io/";

/// Rule to verbs: `ClusterRole pods/status` to `patch, update`.
type Rights = BTreeMap<String, BTreeSet<String>>;

fn rendered(helm: &Helm, set: &[&str], platform: &str) -> Rights {
    let mut arguments: Vec<String> =
        ["--kube-version", "v1.34.4", "--show-only", "templates/rbac.yaml"].map(str::to_owned).into();
    let platform = format!("platform={platform}");
    for value in set.iter().copied().chain([platform.as_str()]) {
        arguments.extend(["--set".to_owned(), value.to_owned()]);
    }
    let said = helm.template(&chart::dir("multus"), &arguments).unwrap();
    assert!(said.success, "{set:?}: {}", said.stderr);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&said.stdout).unwrap();
    let mut rights = Rights::new();
    for role in documents.iter().filter(|document| document["rules"].is_array()) {
        for rule in role["rules"].as_array().unwrap() {
            let verbs: BTreeSet<String> = texts(&rule["verbs"]).into_iter().collect();
            for name in names(rule) {
                let rule = format!("{} {name}", role["kind"].as_str().unwrap());
                assert!(
                    rights.insert(rule.clone(), verbs.clone()).is_none(),
                    "{set:?}: two rules for {rule}"
                );
            }
        }
    }
    rights
}

/// What a rule is about: `group/resource`, with the object's name where there is one.
fn names(rule: &Value) -> Vec<String> {
    let objects = rule.get("resourceNames").map_or_else(|| vec![String::new()], texts);
    let mut names = Vec::new();
    for group in texts(&rule["apiGroups"]) {
        for resource in texts(&rule["resources"]) {
            let group = if group.is_empty() { String::new() } else { format!("{group}/") };
            names.extend(
                objects.iter().map(|object| format!("{group}{resource} {object}").trim_end().to_owned()),
            );
        }
    }
    names
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The cells of the table's rows.
fn table() -> Vec<Vec<String>> {
    let page = fs::read_to_string(testbed::parts::workspace().join("docs/security.md")).unwrap();
    let table = page.split_once(BEGIN).unwrap().1.split_once(END).unwrap().0;
    let rows = table.lines().filter(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

#[test]
fn the_page_s_table_of_rights_is_what_the_chart_renders() {
    let rows = table();
    let head: Vec<_> = rows[0][1..=COLUMNS.len()].iter().map(String::as_str).collect();
    assert_eq!(head, COLUMNS.map(|(name, _)| name));
    let helm = Helm::four().unwrap();
    for (column, (name, set)) in COLUMNS.iter().enumerate() {
        let mut said = Rights::new();
        for row in &rows[2..] {
            let verbs: BTreeSet<_> = row[column + 1].split(", ").map(str::to_owned).collect();
            if row[column + 1] != "–" {
                said.insert(row[0].clone(), verbs);
            }
        }
        assert_eq!(
            said,
            rendered(&helm, set, "openshift"),
            "{name}, on OpenShift: docs/security.md, the chart"
        );
        said.retain(|rule, _| !rule.contains(OPENSHIFT));
        assert_eq!(said, rendered(&helm, set, "generic"), "{name}: docs/security.md, the chart");
    }
}

#[test]
fn every_right_has_its_reason_and_what_happens_without_it() {
    for row in &table()[2..] {
        assert_eq!(row.len(), COLUMNS.len() + 3, "{row:?}");
        assert!(row[COLUMNS.len() + 1..].iter().all(|cell| cell.len() > 10), "{row:?}");
    }
}

/// What a compromised daemon must not be able to do, whatever a later change of the chart is for.
#[test]
fn no_role_reaches_secrets_other_workloads_or_everything() {
    let helm = Helm::four().unwrap();
    for (name, set) in COLUMNS {
        for (rule, verbs) in rendered(&helm, set, "generic") {
            assert!(
                !rule.contains('*') && !rule.contains("secrets") && !rule.ends_with(" pods/exec"),
                "{name}: {rule}"
            );
            let writes = verbs.iter().any(|verb| !["get", "list", "watch"].contains(&verb.as_str()));
            let may_write = rule.ends_with(" pods/status") || rule.ends_with("events");
            assert!(!writes || may_write, "{name}: {rule}: {verbs:?}");
        }
    }
}
