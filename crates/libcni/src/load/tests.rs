use std::fs;
use std::os::unix::fs::symlink;

use super::*;

struct Dir(tempfile::TempDir);

impl Dir {
    fn with(files: &[(&str, &str)]) -> Dir {
        let dir = Dir(tempfile::tempdir().unwrap());
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

const SINGLE: &str = r#"{"name":"single","type":"s"}"#;
const LIST: &str = r#"{"name":"list","plugins":[{"type":"l"}]}"#;

fn types(network: &Network) -> Vec<&str> {
    network.plugins.iter().map(|plugin| plugin.plugin_type.as_str()).collect()
}

#[test]
fn c82_a_directory_is_read_in_the_order_of_its_file_names() {
    let dir = Dir::with(&[
        ("20.conf", "b"),
        ("10.conflist", "a"),
        ("30.json", "c"),
        ("00.txt", "x"),
        ("05.conf.bak", "x"),
        ("sub.conf/x", "x"),
        (".multus.conf", "d"),
    ]);
    symlink(dir.path().join("10.conflist"), dir.path().join("40.conf")).unwrap();
    symlink("/nonexistent", dir.path().join("50.conf")).unwrap();
    let names: Vec<String> = directory(dir.path()).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [".multus.conf", "10.conflist", "20.conf", "30.json", "40.conf"]);
}

#[test]
fn c84_a_missing_directory_holds_nothing() {
    assert!(directory(Path::new("/nonexistent/net.d")).unwrap().is_empty());
    let dir = Dir::with(&[]);
    let told = find(dir.path(), "x").unwrap_err();
    assert_eq!(told.to_string(), format!("no net configurations found in {}", dir.path().display()));
    let dir = Dir::with(&[("a.conf", SINGLE)]);
    let told = find(dir.path(), "x").unwrap_err();
    assert_eq!(told.to_string(), format!("no net configuration with name \"x\" in {}", dir.path().display()));
    let dir = Dir::with(&[("a.conflist", LIST)]);
    assert!(matches!(find(dir.path(), "x"), Err(ConfigError::NotFound { .. })));
}

#[test]
fn c83_plugins_of_the_folder_are_appended() {
    let files = [
        ("a.conflist", LIST),
        ("list/20.conf", r#"{"type":"f2"}"#),
        ("list/10.conf", r#"{"type":"f1","k":1.0}"#),
        ("list/30.json", r#"{"type":"no"}"#),
        ("b.conflist", r#"{"name":"list","loadOnlyInlinedPlugins":true,"plugins":[{"type":"l"}]}"#),
    ];
    let dir = Dir::with(&files);
    let network = file(&dir.path().join("a.conflist")).unwrap();
    assert_eq!(types(&network), ["l", "f1", "f2"]);
    assert!(String::from_utf8(network.to_bytes()).unwrap().contains(r#"{"k":1.0,"type":"f1"}"#));
    assert_eq!(types(&file(&dir.path().join("b.conflist")).unwrap()), ["l"]);
    assert_eq!(folder(dir.path(), "list").unwrap().len(), 2);
    assert!(folder(dir.path(), "absent").unwrap().is_empty());
}

#[test]
fn c83_a_list_may_have_all_its_plugins_in_the_folder_but_needs_one() {
    let dir = Dir::with(&[("a.conflist", r#"{"name":"n"}"#), ("n/1.conf", r#"{"type":"f"}"#)]);
    assert_eq!(types(&file(&dir.path().join("a.conflist")).unwrap()), ["f"]);
    fs::remove_file(dir.path().join("n/1.conf")).unwrap();
    let told = file(&dir.path().join("a.conflist")).unwrap_err().to_string();
    assert!(told.ends_with("no plugin configs found"), "{told}");
    fs::write(dir.path().join("n/1.conf"), "{}").unwrap();
    let told = file(&dir.path().join("a.conflist")).unwrap_err().to_string();
    assert!(told.ends_with("n/1.conf: error parsing configuration: missing 'type'"), "{told}");
}

#[test]
fn c2_a_name_does_not_lead_out_of_the_directory() {
    let list = r#"{"name":"../out","plugins":[{"type":"l"}]}"#;
    let dir = Dir::with(&[("in/a.conflist", list), ("out/1.conf", r#"{"type":"foreign"}"#)]);
    assert_eq!(types(&file(&dir.path().join("in/a.conflist")).unwrap()), ["l"]);
}

#[test]
fn c82_lists_come_before_single_configurations() {
    let same = r#"{"name":"list","type":"s"}"#;
    let dir = Dir::with(&[("10.conf", same), ("20.json", SINGLE), ("90.conflist", LIST)]);
    assert_eq!(types(&find(dir.path(), "list").unwrap()), ["l"]);
    assert_eq!(types(&find(dir.path(), "single").unwrap()), ["s"]);
}

#[test]
fn c82_an_unreadable_list_before_the_match_fails_the_search() {
    let dir = Dir::with(&[("10.conflist", "{"), ("20.conflist", LIST)]);
    let told = find(dir.path(), "list").unwrap_err().to_string();
    assert!(told.contains("10.conflist: error parsing configuration list: "), "{told}");
    let dir = Dir::with(&[("10.conflist", LIST), ("20.conflist", "{"), ("30.conf", "{")]);
    assert!(find(dir.path(), "list").is_ok());
}

#[test]
fn only_a_conflist_is_a_list() {
    let dir = Dir::with(&[("a.conf", LIST), ("b.conflist", SINGLE)]);
    assert!(file(&dir.path().join("a.conf")).unwrap_err().to_string().ends_with("missing 'type'"));
    assert!(
        file(&dir.path().join("b.conflist")).unwrap_err().to_string().ends_with("no plugin configs found")
    );
}

#[test]
fn files_that_are_no_files_or_too_large_are_refused() {
    let dir = Dir::with(&[("big.conf", &"x".repeat((1 << 20) + 1))]);
    fs::write(dir.path().join("good.conf"), SINGLE).unwrap();
    let [(_, big), (_, good)] = &directory(dir.path()).unwrap()[..] else { panic!("there are two") };
    let told = big.as_ref().unwrap_err().to_string();
    assert!(told.ends_with("larger than 1048576 bytes"), "{told}");
    assert_eq!(good.as_ref().unwrap(), SINGLE.as_bytes());
    let fifo = dir.path().join("a.conf");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let told = file(&fifo).unwrap_err().to_string();
    assert_eq!(told, format!("error reading {}: not a regular file", fifo.display()));
}
