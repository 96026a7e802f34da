//! Nothing is looked up that is not needed.

use libcni::Verb;

use crate::testing::{CLUSTER, Case};
use crate::{NadRef, Wanted};

fn nads(wanted: &Wanted) -> Vec<String> {
    wanted.nads.iter().map(NadRef::to_string).collect()
}

#[test]
fn n18_a_pod_that_selects_nothing_needs_no_lookup() {
    for case in [Case::new(), Case::new().selects(""), Case::new().selects("[]")] {
        let wanted = case.wanted().unwrap();
        assert_eq!((nads(&wanted), wanted.files.as_slice()), (vec![], [CLUSTER.to_owned()].as_slice()));
        assert!(wanted.names.is_empty() && wanted.auxiliary_chain.is_none());
        assert!(!wanted.needs_conf_dir(&case.nads));
    }
    let delegates = Case::new().netconf(r#"{"delegates":[{"name":"a","type":"t"}]}"#);
    assert_eq!(delegates.wanted().unwrap(), Wanted::default());
}

#[test]
fn n25_each_selected_nad_is_wanted_once() {
    let case = Case::new().selects("b,a,b@x,ns/a").selects_default("d");
    assert_eq!(nads(&case.wanted().unwrap()), ["kube-system/d", "ns/a", "test/a", "test/b"]);
}

#[test]
fn n91_configured_networks_are_wanted() {
    let keys = r#"{"clusterNetwork":"cluster","defaultNetworks":["extra","/dir/","My_Net"],"multusNamespace":"m",
        "auxiliaryCNIChainName":"aux"}"#;
    let case = Case::new().netconf(keys);
    let wanted = case.wanted().unwrap();
    assert_eq!(nads(&wanted), ["m/cluster", "m/extra"]);
    assert_eq!(wanted.files, ["/dir/"]);
    assert_eq!(wanted.names, ["cluster", "extra", "My_Net"]);
    assert_eq!(wanted.auxiliary_chain, None);

    let mut none = Case::new().netconf(keys).verb(Verb::Status);
    none.pod = None;
    assert_eq!(nads(&none.wanted().unwrap()), ["m/cluster"]);
}

/// Upstream drops them without a word.
#[test]
fn n92_default_networks_are_wanted_beside_a_primary_that_is_written_out() {
    let keys = r#"{"delegates":[{"name":"a","type":"t"}],"defaultNetworks":["extra"]}"#;
    assert_eq!(nads(&Case::new().netconf(keys).wanted().unwrap()), ["kube-system/extra"]);
}

#[test]
fn the_auxiliary_chain_lies_beside_the_default_networks_file() {
    let wanted = Case::new().with_keys(r#""auxiliaryCNIChainName":"aux""#).wanted().unwrap();
    let chain = wanted.auxiliary_chain.unwrap();
    assert_eq!((chain.dir.to_str(), chain.name.as_str()), (Some("/etc/cni/net.d"), "aux"));
}

#[test]
fn n13_conf_dir_is_read_only_where_it_is_needed() {
    let own = Case::new().selects("a").able("test/a");
    assert!(!own.wanted().unwrap().needs_conf_dir(&own.nads));
    let by_name = Case::new().selects("a").nad("test/a", "");
    assert!(by_name.wanted().unwrap().needs_conf_dir(&by_name.nads));
    let cluster = Case::new().netconf(r#"{"clusterNetwork":"c"}"#).able("kube-system/c");
    assert!(!cluster.wanted().unwrap().needs_conf_dir(&cluster.nads));
    let missing = Case::new().netconf(r#"{"clusterNetwork":"c"}"#).missing("kube-system", "c");
    assert!(missing.wanted().unwrap().needs_conf_dir(&missing.nads));
}

#[test]
fn n102_a_network_that_is_not_allowed_is_not_looked_up() {
    let case = Case::new().with_keys(r#""namespaceIsolation":true"#).selects("ok,other/net");
    let text = case.wanted().unwrap_err().to_string();
    assert!(
        text.starts_with(
            "Multus: [test/p1/u1]: error loading k8s delegates k8s args: TryLoadPodDelegates: error in getting k8s \
             network for pod: GetNetworkDelegates: namespace isolation enabled, annotation violates permission, pod is \
             in namespace test but refers to target namespace other; item 2 (\"other/net\")"
        ),
        "{text}"
    );
}
