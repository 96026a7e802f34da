use super::*;
use crate::Origin;

const FLANNEL: &str =
    r#"{"cniVersion":"1.0.0","name":"cbr0","plugins":[{"type":"flannel"},{"type":"portmap"}]}"#;
const CALICO: &str = r#"{"cniVersion":"0.3.1","name":"k8s-pod-network","plugins":[{"type":"calico"}]}"#;
const PODMAN: &str = r#"{"cniVersion":"0.4.0","name":"podman","plugins":[{"type":"bridge"}]}"#;
const NERDCTL: &str =
    r#"{"cniVersion":"1.0.0","name":"bridge","nerdctlID":"17","plugins":[{"type":"bridge"}]}"#;
const OURS: &str = r#"{"cniVersion":"0.3.1","name":"multus-cni-network","type":"multus","delegates":[]}"#;

fn directory(files: &[(&str, &str)]) -> Directory {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    Directory::read(dir.path(), &[]).unwrap()
}

fn wish(network: &str) -> Wish {
    Wish { network: network.to_owned(), ..Wish::default() }
}

fn required(network: &str) -> Wish {
    Wish { required: true, ..wish(network) }
}

/// The chosen file, and whether there is a warning.
fn chosen(files: &[(&str, &str)], wish: &Wish) -> Result<(String, bool), Error> {
    let choice = choose(&directory(files), wish, None)?;
    Ok((choice.primary.origin.name(), choice.warning.is_some()))
}

#[test]
fn automatic_is_what_the_runtime_uses_without_us() {
    let files = [
        ("00-multus.conf", OURS),
        ("00-multus.conflist", ""),
        ("01-renamed.conf", OURS),
        ("05-notes.txt", "hello"),
        ("07-nerdctl-bridge.conflist.bak", NERDCTL),
        ("10-flannel.conflist", FLANNEL),
        ("100-crio-bridge.conf", r#"{"name":"crio","type":"bridge"}"#),
        ("20-calico.conflist", CALICO),
        ("nerdctl-bridge.conflist", NERDCTL),
    ];
    assert_eq!(chosen(&files, &Wish::default()).unwrap(), ("10-flannel.conflist".to_owned(), false));
    let json = [("05-calico.json", CALICO), ("10-flannel.conflist", FLANNEL)];
    assert_eq!(chosen(&json, &Wish::default()).unwrap().0, "05-calico.json", "runtimes read .json too");
}

#[test]
fn the_networks_name_comes_before_a_files_name_and_that_before_the_present_network() {
    let files = [
        ("10-flannel.conflist", FLANNEL),
        ("20-calico.conflist", CALICO),
        ("30-cbr0", FLANNEL),
        ("k8s-pod-network.conf", r#"{"name":"other","type":"ptp"}"#),
    ];
    for (value, file) in [
        ("k8s-pod-network", "20-calico.conflist"),
        ("k8s-pod-network.conf", "k8s-pod-network.conf"),
        ("other", "k8s-pod-network.conf"),
        ("20-calico.conflist", "20-calico.conflist"),
        ("flannel", "10-flannel.conflist"),
        ("bridge", "10-flannel.conflist"),
    ] {
        for wish in [wish(value), required(value)] {
            assert_eq!(chosen(&files, &wish).unwrap(), (file.to_owned(), false), "{value}");
        }
    }
}

#[test]
fn a_type_only_confirms_and_never_selects() {
    // The user's `bridge` on a node with Calico, where Podman and nerdctl were once tried.
    let files = [
        ("20-calico.conflist", CALICO),
        ("87-podman-bridge.conflist", PODMAN),
        ("nerdctl-bridge.conflist", NERDCTL),
    ];
    assert_eq!(chosen(&files, &wish("bridge")).unwrap(), ("20-calico.conflist".to_owned(), true));
    // Nor is a later file taken for its type.
    let files = [("20-calico.conflist", CALICO), ("30-flannel.conflist", FLANNEL)];
    assert_eq!(chosen(&files, &wish("bridge")).unwrap(), ("20-calico.conflist".to_owned(), true));
}

#[test]
fn what_is_not_there_is_a_warning_that_names_all_that_was_looked_at() {
    let directory = directory(&[
        ("00-multus.conf", OURS),
        ("20-calico.conflist", CALICO),
        ("87-podman-bridge.conflist", PODMAN),
        ("90-broken.conf", "{"),
    ]);
    let warning = choose(&directory, &wish("macvlan"), None).unwrap().warning.unwrap();
    for part in [
        "\"macvlan\"",
        "00-multus.conf: of multus",
        "network \"k8s-pod-network\", type \"calico\"",
        "87-podman-bridge.conflist: of Podman",
        "90-broken.conf: failed to unmarshal",
        "Going on with 20-calico.conflist",
    ] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    let Err(Error::Missing(reason)) = choose(&directory, &required("macvlan"), None) else { panic!() };
    assert!(reason.contains("\"macvlan\"") && !reason.contains("Going on"), "{reason}");
}

#[test]
fn another_programs_network_is_found_by_its_files_name_only() {
    let files = [("20-calico.conflist", CALICO), ("87-podman-bridge.conflist", PODMAN)];
    assert!(chosen(&files, &wish("podman")).unwrap().1);
    assert_eq!(
        chosen(&files, &wish("87-podman-bridge.conflist")).unwrap(),
        ("87-podman-bridge.conflist".to_owned(), false)
    );
    let file = Wish { file: "87-podman-bridge.conflist".to_owned(), ..Wish::default() };
    assert_eq!(chosen(&files, &file).unwrap().0, "87-podman-bridge.conflist");
}

#[test]
fn multus_is_not_chosen_by_any_name() {
    let files = [("00-multus.conf", OURS), ("01-copy.conf", OURS)];
    for name in ["00-multus.conf", "01-copy.conf"] {
        for wish in [wish(name), Wish { file: name.to_owned(), ..Wish::default() }] {
            assert!(matches!(chosen(&files, &wish), Err(Error::Circular(file)) if file.ends_with(name)));
        }
    }
    for value in ["multus-cni-network", "multus"] {
        assert!(matches!(chosen(&files, &wish(value)), Err(Error::Missing(_))), "{value}");
    }
}

#[test]
fn an_unreadable_file_that_would_come_first_is_waited_for() {
    let files = [("05-cilium.conflist", "{\"cniVersion\":"), ("10-flannel.conflist", FLANNEL)];
    for wish in [Wish::default(), wish("nothing")] {
        let Err(Error::Unusable(reason)) = chosen(&files, &wish) else { panic!() };
        assert!(reason.contains("05-cilium.conflist"), "{reason}");
    }
    assert_eq!(chosen(&files, &wish("cbr0")).unwrap().0, "10-flannel.conflist");
}

#[test]
fn an_empty_directory_and_a_missing_file_are_named() {
    let Err(Error::Missing(reason)) = chosen(&[], &Wish::default()) else { panic!() };
    assert!(reason.starts_with("cannot find valid master CNI config in"), "{reason}");
    assert!(reason.contains("no .conf, .conflist or .json file"), "{reason}");
    let file = Wish { file: "10-a.conf".to_owned(), ..Wish::default() };
    let Err(Error::Missing(reason)) = chosen(&[("20-calico.conflist", CALICO)], &file) else { panic!() };
    assert!(reason.contains("10-a.conf") && reason.contains("20-calico.conflist"), "{reason}");
    assert!(matches!(Directory::read(Path::new("/does/not/exist"), &[]), Err(Error::Missing(_))));
}

#[test]
fn a_definition_counts_only_with_its_namespace() {
    assert_eq!(wish("ns/name").definition(), Some(("ns", "name")));
    for other in ["name", "/name", "ns/", "/a/b", "a/b/c", ""] {
        assert_eq!(wish(other).definition(), None, "{other}");
    }
    let origin = Origin::Definition("ns".to_owned(), "name".to_owned());
    let definition = Primary::parse(origin, CALICO.as_bytes().to_vec()).unwrap();
    let directory = directory(&[("10-flannel.conflist", FLANNEL)]);
    let choice = choose(&directory, &wish("ns/name"), Some(Ok(definition))).unwrap();
    assert_eq!((choice.primary.origin.name(), choice.warning), ("ns/name".to_owned(), None));
    let missing = || Some(Err("not found".to_owned()));
    let choice = choose(&directory, &wish("ns/name"), missing()).unwrap();
    assert_eq!(choice.primary.origin.name(), "10-flannel.conflist");
    assert!(choice.warning.unwrap().contains("not found"));
    assert!(matches!(choose(&directory, &required("ns/name"), missing()), Err(Error::Missing(_))));
}

#[test]
fn a_wish_is_fulfilled_by_name_file_or_type() {
    let directory = directory(&[("10-flannel.conflist", FLANNEL)]);
    let primary = choose(&directory, &Wish::default(), None).unwrap().primary;
    for value in ["", "cbr0", "10-flannel.conflist", "flannel", "bridge"] {
        assert!(wish(value).is_fulfilled_by(&primary), "{value}");
    }
    for value in ["portmap", "calico", "ns/name"] {
        assert!(!wish(value).is_fulfilled_by(&primary), "{value}");
    }
}

#[test]
fn what_a_runtime_reads_before_ours_is_known() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["00-multus.conf", "00-aaa.txt", "10-a.conf"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    assert_eq!(sorts_before(dir.path(), "00-multus.conf"), None);
    fs::write(dir.path().join("00-aaa.conflist"), "").unwrap();
    assert_eq!(sorts_before(dir.path(), "00-multus.conf").as_deref(), Some("00-aaa.conflist"));
}

#[test]
fn a_name_of_ours_is_ours_even_while_it_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("05-mine.conf"), "").unwrap();
    fs::write(dir.path().join("10-flannel.conflist"), FLANNEL).unwrap();
    let read = |own: &[String]| choose(&Directory::read(dir.path(), own).unwrap(), &Wish::default(), None);
    assert!(matches!(read(&[]), Err(Error::Unusable(_))));
    assert_eq!(read(&["05-mine.conf".to_owned()]).unwrap().primary.origin.name(), "10-flannel.conflist");
}
