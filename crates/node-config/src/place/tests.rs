use std::os::unix::fs::MetadataExt;

use super::*;
use crate::{Origin, Primary, Template};

const OLD: &str = r#"{"cniVersion":"0.3.1","name":"p","type":"bridge"}"#;
const NEW: &str = r#"{"cniVersion":"1.0.0","name":"p","type":"bridge"}"#;

struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn place(&self, owner: &str) -> Place {
        let owner = (!owner.is_empty()).then(|| owner.to_owned());
        Place::new(self.dir.path().to_owned(), "", owner, Vec::new())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn generated(owner: &str, primary: &str) -> Generated {
    let primary = Primary::parse(Origin::File("/n/10-p.conf".into()), primary.as_bytes().to_vec()).unwrap();
    let owner = (!owner.is_empty()).then(|| owner.to_owned());
    Template { plugin_type: "multus".to_owned(), owner, ..Template::default() }.generate(&primary).unwrap()
}

#[test]
fn it_is_written_once_and_put_back_whatever_became_of_it() {
    let node = Node::new();
    let (place, wanted) = (node.place("a/b"), generated("a/b", OLD));
    let path = place.path(&wanted);
    assert!(place.put(&wanted).unwrap());
    let first = fs::metadata(&path).unwrap();
    assert!(!place.put(&wanted).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().ino(), first.ino(), "never rewritten when identical");
    let damages: [&dyn Fn(); 6] = [
        &|| fs::write(&path, "").unwrap(),
        &|| fs::write(&path, &wanted.text[..50]).unwrap(),
        &|| fs::write(&path, wanted.text.replace("multus-cni", "other-cni")).unwrap(),
        &|| fs::remove_file(&path).unwrap(),
        &|| fs::rename(&path, node.path("00-multus.conf.cilium_bak")).unwrap(),
        &|| {
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/does/not/exist", &path).unwrap();
        },
    ];
    for damage in damages {
        damage();
        assert!(place.put(&wanted).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), wanted.text);
    }
    assert_eq!(node.names(), ["00-multus.conf", "00-multus.conf.cilium_bak"]);
    assert_eq!(place.renamed_to().as_deref(), Some("00-multus.conf.cilium_bak"));
}

#[test]
fn there_is_one_form_only() {
    let node = Node::new();
    let place = node.place("a/b");
    place.put(&generated("a/b", OLD)).unwrap();
    assert!(place.put(&generated("a/b", NEW)).unwrap());
    assert_eq!(node.names(), ["00-multus.conflist"]);
    assert_eq!(place.renamed_to(), None);
}

#[test]
fn another_installs_configuration_is_neither_overwritten_nor_removed() {
    for (primary, other) in [(OLD, OLD), (OLD, NEW), (NEW, OLD)] {
        let node = Node::new();
        node.place("x/y").put(&generated("x/y", other)).unwrap();
        let before = node.names();
        for owner in ["a/b", ""] {
            let place = node.place(owner);
            assert!(matches!(place.check_owner(), Err(Error::Owned { owner, .. }) if owner == "x/y"));
            let error = place.put(&generated(owner, primary)).unwrap_err().to_string();
            assert!(error.contains("\"x/y\"") && error.contains("--take-over-from=x/y"), "{error}");
            let removals = place.remove().unwrap();
            assert!(
                removals
                    .iter()
                    .any(|removal| matches!(removal, Removal::Kept(_, why) if why.contains("x/y")))
            );
            assert_eq!(node.names(), before);
        }
    }
}

#[test]
fn an_unmarked_one_is_adopted_and_so_is_one_that_is_named() {
    let node = Node::new();
    node.place("").put(&generated("", NEW)).unwrap();
    node.place("a/b").put(&generated("a/b", OLD)).unwrap();
    assert_eq!(node.names(), ["00-multus.conf"]);
    let taking = Place::new(node.dir.path().to_owned(), "", Some("c/d".to_owned()), vec!["a/b".to_owned()]);
    taking.put(&generated("c/d", OLD)).unwrap();
    assert_eq!(taking.trouble(), None);
    assert!(node.place("a/b").trouble().unwrap().contains("c/d"));
}

#[test]
fn only_what_carries_the_mark_is_removed() {
    let node = Node::new();
    let place = node.place("a/b");
    assert_eq!(place.remove().unwrap(), []);
    place.put(&generated("a/b", OLD)).unwrap();
    assert_eq!(place.remove().unwrap(), [Removal::Removed(node.path("00-multus.conf"))]);
    for text in ["", "{\"type\":\"multus\"}"] {
        node.write("00-multus.conf", text);
        assert!(matches!(place.remove().unwrap()[0], Removal::Kept(..)), "{text}");
        assert!(matches!(node.place("").remove().unwrap()[0], Removal::Removed(_)), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    let node = Node::new();
    let (place, wanted) = (node.place("a/b"), generated("a/b", NEW));
    let trouble = |text: &str| {
        assert!(place.trouble().is_some_and(|told| told.contains(text)), "{text}: {:?}", place.trouble())
    };
    trouble("cni.configDir");
    node.write("20-other.conflist", NEW);
    trouble("there is no configuration of multus");
    assert!(!place.is_taken());
    place.put(&wanted).unwrap();
    assert_eq!(place.trouble(), None);
    node.write("10-flannel.conflist", NEW);
    assert_eq!(place.trouble(), None);
    node.write("00-aaa.conf", OLD);
    trouble("reads 00-aaa.conf before 00-multus.conflist");
    node.write("00-multus.conf", OLD);
    trouble("several of multus: 00-multus.conf, 00-multus.conflist");
    fs::remove_file(node.path("00-multus.conf")).unwrap();
    node.write("00-multus.conflist", "");
    trouble("damaged");
    assert!(place.is_taken());
    node.write("00-multus.conflist", &wanted.text.replace("multus-cni", "other-cni"));
    trouble("changed");
    node.write("00-multus.conflist", &generated("", NEW).text);
    trouble("no mark");
    node.write("00-multus.conflist", &generated("x/y", NEW).text);
    trouble("another install");
}

#[test]
fn what_an_install_left_under_another_name_goes_and_another_installs_counts_under_any() {
    let node = Node::new();
    let named = |file_name: &str, owner: &str| {
        let primary = Primary::parse(Origin::File("/n/10-p.conf".into()), OLD.as_bytes().to_vec()).unwrap();
        let owner = Some(owner.to_owned());
        let place = Place::new(node.dir.path().to_owned(), file_name, owner.clone(), Vec::new());
        let (plugin_type, file_name) = ("multus".to_owned(), file_name.to_owned());
        let template = Template { plugin_type, file_name, owner, ..Template::default() };
        (place, template.generate(&primary).unwrap())
    };
    node.write("00-multus.conf", "");
    let (place, wanted) = named("05-mine.conf", "a/b");
    place.put(&wanted).unwrap();
    assert_eq!(node.names(), ["05-mine.conf"], "upstream's name is adopted too");
    let (place, wanted) = named("07-other.conflist", "a/b");
    place.put(&wanted).unwrap();
    assert_eq!(node.names(), ["07-other.conflist"]);
    assert_eq!(place.trouble(), None);
    let (place, wanted) = named("00-multus.conf", "x/y");
    assert!(matches!(place.put(&wanted), Err(Error::Owned { owner, .. }) if owner == "a/b"));
    assert_eq!(node.names(), ["07-other.conflist"]);
}
