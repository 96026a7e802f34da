use super::*;

/// As if `up` had been killed in the middle: machines run, and all that is left of the run itself is its record.
#[test]
fn what_a_killed_run_left_is_cleared() {
    let spec = Spec::new("killed").node(NodeSpec::new("node1"));
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("killed");
    State::begin(&dir, &spec).unwrap();
    let mut recorded = Vec::new();
    for name in [control::NAME, "node1"] {
        let machine = Machine::boot(name, &machine_root(&dir, name), Life::Own, |record| {
            recorded.push(record.clone());
            state::record(&dir, record)
        });
        drop(machine.unwrap());
    }
    assert!(!state::is_alive(&dir), "a cluster that never came up counts as one that runs");

    clear(&dir).unwrap();
    assert!(recorded.iter().all(|record| !record.is_alive()));
    assert!(!dir.exists());
    clear(&dir).unwrap();
}

#[test]
fn names_that_would_not_do_are_refused() {
    let refused = |spec: Spec| format!("{:#}", spec.check().unwrap_err());
    assert!(refused(Spec::new("A/b")).contains("\"A/b\""));
    assert!(refused(Spec::new("a").node(NodeSpec::new(""))).contains("cannot name"));
    let twice = Spec::new("a").node(NodeSpec::new("node1")).node(NodeSpec::new("node1"));
    assert!(refused(twice).contains("two nodes"));
}

#[test]
fn nodes_are_read_from_a_command_line() {
    let node: NodeSpec = "n,layout=k3s-old,containerd=2,primary=flannel".parse().unwrap();
    assert_eq!(node, NodeSpec::k3s("n").layout(Layout::K3sOld));
    assert_eq!("n".parse::<NodeSpec>().unwrap(), NodeSpec::new("n"));
    let refused = "n,layout=k4s".parse::<NodeSpec>().unwrap_err().to_string();
    assert!(refused.contains("layout=generic|k3s|k3s-old"), "{refused}");
}
