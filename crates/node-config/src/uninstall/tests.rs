use serde_json::{Value, json};

use super::*;

fn node(name: &str, labels: &[(&str, &str)]) -> Node {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Node { metadata: NodeMetadata { name: name.to_owned(), labels } }
}

fn placement(spec: Value) -> Placement {
    serde_json::from_value(spec).unwrap()
}

fn unknown() -> Sight {
    Sight::Unknown("401".to_owned())
}

fn is_removed(watched: &Sight, asked: &Sight, node: &Result<Node, String>) -> bool {
    matches!(decide(watched, asked, node), Verdict::Remove(_))
}

/// Every combination of what was seen, what is answered, and what is known of the node.
#[test]
fn only_what_is_seen_removes_anything() {
    let here = || Sight::Present(placement(json!({"nodeSelector": {"multus": "yes"}})));
    let sights = || [here(), Sight::Deleting, Sight::Absent, unknown(), Sight::NamespaceDeleting];
    let nodes =
        [Ok(node("n", &[("multus", "yes")])), Ok(node("n", &[])), Err("nodes \"n\" is forbidden".to_owned())];
    for (asked_index, asked) in sights().iter().enumerate() {
        for (watched_index, watched) in sights().iter().enumerate() {
            for (node_index, node) in nodes.iter().enumerate() {
                let expected = match (asked_index, watched_index, node_index) {
                    // The answer counts: it is there, and all hangs on the node.
                    (0, _, 1) => true,
                    (0, _, _) => false,
                    (1 | 2 | 4, _, _) => true,
                    // No answer: what was seen before.
                    (_, watched, _) => matches!(watched, 1 | 2 | 4),
                };
                assert_eq!(is_removed(watched, asked, node), expected, "{watched:?} {asked:?} {node:?}");
            }
        }
    }
}

#[test]
fn a_reason_is_given_for_either() {
    let node = Err("no role".to_owned());
    let Verdict::Keep(reason) = decide(&unknown(), &unknown(), &node) else { panic!() };
    assert!(reason.contains("401"), "{reason}");
    let Verdict::Keep(reason) = decide(&Sight::Absent, &Sight::Present(Placement::default()), &node) else {
        panic!()
    };
    assert!(reason.contains("no role"), "{reason}");
    let Verdict::Remove(reason) = decide(&Sight::Absent, &unknown(), &node) else { panic!() };
    assert!(reason.contains("seen to be deleted"), "{reason}");
}

#[test]
fn a_deletion_shows_in_the_object() {
    let read = |value: Value| Sight::from(&serde_json::from_value::<DaemonSet>(value).unwrap());
    assert!(matches!(read(json!({})), Sight::Present(placement) if placement == Placement::default()));
    let selector =
        json!({"metadata": {"name": "x"}, "spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}});
    assert!(matches!(read(selector), Sight::Present(placement) if placement != Placement::default()));
    let deleting = json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}, "spec": {}});
    assert!(matches!(read(deleting), Sight::Deleting));
}

fn selects(spec: Value, name: &str, labels: &[(&str, &str)]) -> Result<bool, String> {
    let node = node(name, labels);
    placement(spec).selects(&node.metadata.name, &node.metadata.labels)
}

#[test]
fn a_node_is_selected_by_its_labels_and_its_name() {
    let linux = ("kubernetes.io/os", "linux");
    let selector = json!({"nodeSelector": {"kubernetes.io/os": "linux", "multus": "yes"}});
    assert!(selects(json!({}), "n", &[]).unwrap());
    assert!(selects(selector.clone(), "n", &[linux, ("multus", "yes"), ("more", "")]).unwrap());
    assert!(!selects(selector.clone(), "n", &[linux]).unwrap());
    assert!(!selects(selector, "n", &[linux, ("multus", "no")]).unwrap());
    assert!(!selects(json!({"nodeName": "m"}), "n", &[]).unwrap());
    // An affinity that is only preferred selects nothing.
    let preferred = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}]}}});
    assert!(selects(preferred, "n", &[]).unwrap());
}

fn required(terms: Value) -> Value {
    json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
}

#[test]
fn each_operator_does_what_a_scheduler_does() {
    for (operator, values, absent, five, other) in [
        ("In", json!(["5", "6"]), false, true, false),
        ("NotIn", json!(["5", "6"]), true, false, true),
        ("Exists", json!([]), false, true, true),
        ("DoesNotExist", json!([]), true, false, false),
        ("Gt", json!(["4"]), false, true, false),
        ("Gt", json!(["5"]), false, false, false),
        ("Lt", json!(["6"]), false, true, false),
        ("Lt", json!(["5"]), false, false, false),
        ("Lt", json!(["x"]), false, false, false),
    ] {
        let spec =
            required(json!([{"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}]));
        let found =
            [&[][..], &[("a", "5")], &[("a", "x")]].map(|labels| selects(spec.clone(), "n", labels).unwrap());
        assert_eq!(found, [absent, five, other], "{operator} {values}");
    }
}

#[test]
fn one_term_is_enough_and_within_a_term_all_is_needed() {
    let has = |key: &str| json!({"key": key, "operator": "Exists"});
    let spec = required(json!([
        {"matchExpressions": [has("a"), has("b")]},
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}], "matchExpressions": [has("c")]},
        {},
    ]));
    assert!(selects(spec.clone(), "m", &[("a", ""), ("b", "")]).unwrap());
    assert!(!selects(spec.clone(), "m", &[("a", "")]).unwrap());
    assert!(selects(spec.clone(), "n", &[("c", "")]).unwrap());
    assert!(!selects(spec, "m", &[("c", "")]).unwrap());
    assert!(!selects(required(json!([])), "n", &[]).unwrap());
    assert!(!selects(required(json!([{}])), "n", &[]).unwrap());
}

#[test]
fn what_is_not_known_here_keeps_everything() {
    let odd = required(json!([{"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]}]));
    assert!(selects(odd.clone(), "n", &[]).unwrap_err().contains("Near"));
    let field = required(json!([{"matchFields": [{"key": "spec.x", "operator": "In", "values": ["b"]}]}]));
    assert!(selects(field, "n", &[]).unwrap_err().contains("spec.x"));
    let present = Sight::Present(placement(odd));
    assert!(!is_removed(&Sight::Deleting, &present, &Ok(node("n", &[]))));
}
