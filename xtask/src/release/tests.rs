use std::fs;
use std::path::Path;
use std::process::Command;

use testbed::registry::Registry;

use super::*;

const CHANGELOG: &str = "# Changelog\n\n## 4.1.0\n\n- New.\n\n## 4.0.1\n\n- Mended.\n\n## 4.0.0\n\n";

fn version(tag: &str) -> Version {
    Version::of_tag(tag).unwrap()
}

#[test]
fn tags_are_semantic_versions_that_an_image_can_have() {
    for (tag, number) in [("v4.0.1", "4.0.1"), ("v10.20.30-rc.1", "10.20.30-rc.1")] {
        assert_eq!(version(tag).number(), number);
        assert_eq!(version(tag).tag(), tag);
    }
    for tag in ["4.0.1", "v4.0", "v4.0.1.2", "v04.0.1", "v4.0.1+k3s1", "v4.0.1-", "v4.0.1-a..b", "v4.0.x", ""]
    {
        assert!(Version::of_tag(tag).unwrap_err().to_string().contains(tag), "{tag}");
    }
}

#[test]
fn a_release_agrees_with_the_tree_and_is_described() {
    version::agree(&version("v4.0.1"), "4.0.1", CHANGELOG).unwrap();
    for (tag, tree, part) in [
        ("v4.0.1", "4.0.0", "Cargo.toml says 4.0.0"),
        ("v4.0.2", "4.0.2", "\"## 4.0.2\""),
        // A heading alone describes nothing.
        ("v4.0.0", "4.0.0", "\"## 4.0.0\""),
    ] {
        let error = version::agree(&version(tag), tree, CHANGELOG).unwrap_err().to_string();
        assert!(error.contains(part), "{tag}: {error}");
    }
}

#[test]
fn notes_are_the_releases_own_section() {
    assert_eq!(version::notes(&version("v4.0.1"), CHANGELOG).unwrap(), "- Mended.");
}

#[test]
fn packed_charts_carry_the_releases_versions_through_index_and_registry() {
    let dir = tempfile::tempdir().unwrap();
    let charts = Charts::new(dir.path()).unwrap();
    let packed = charts.pack(&version("v4.7.1")).unwrap();
    assert_eq!(packed.len(), 2);
    assert!(packed[0].ends_with("multus-4.7.1.tgz"));
    let again = tempfile::tempdir().unwrap();
    assert_eq!(
        contents(&packed[0]),
        contents(&Charts::new(again.path()).unwrap().pack(&version("v4.7.1")).unwrap()[0])
    );

    // An earlier release stays in the index.
    let url = "https://charts.example/v4.7.1";
    let first = tempfile::tempdir().unwrap();
    let earlier = Charts::new(first.path()).unwrap();
    earlier.pack(&version("v4.7.0")).unwrap();
    let earlier = earlier.index("https://charts.example/v4.7.0", None).unwrap();
    let index = fs::read_to_string(charts.index(url, Some(&earlier)).unwrap()).unwrap();
    for wanted in [
        "https://charts.example/v4.7.0/multus-4.7.0.tgz",
        "https://charts.example/v4.7.1/multus-4.7.1.tgz",
        "https://charts.example/v4.7.1/multus-crds-4.7.1.tgz",
        "appVersion: v4.7.1",
        "/multus-rs:v4.7.1",
    ] {
        assert!(index.contains(wanted), "{wanted} is not in {index}");
    }
    assert!(charts.index(url, Some(Path::new("/does/not/exist"))).is_err());

    let registry = Registry::start().unwrap();
    let to = format!("oci://{}/charts", registry.address());
    let pushed = charts.push(&to, true).unwrap();
    assert!(pushed[0].starts_with(&format!("{}/charts/multus@sha256:", registry.address())), "{pushed:?}");
    let helm = testbed::parts::helm3().unwrap().join("helm");
    let mut show = Command::new(helm);
    show.args(["show", "chart", &format!("{to}/multus"), "--version", "4.7.1", "--plain-http"]);
    let shown = show.output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("version: 4.7.1"), "{shown:?}");
}

/// Names and contents in a packed chart, without times.
fn contents(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let file = flate2::read::GzDecoder::new(fs::File::open(archive).unwrap());
    let mut files = Vec::new();
    for entry in tar::Archive::new(file).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        files.push((entry.path().unwrap().display().to_string(), bytes));
    }
    files.sort_unstable();
    files
}

#[test]
fn nothing_is_pushed_from_an_empty_folder() {
    let dir = tempfile::tempdir().unwrap();
    let error =
        Charts::new(dir.path()).unwrap().push("oci://127.0.0.1:1/charts", true).unwrap_err().to_string();
    assert!(error.contains("release charts"), "{error}");
}

#[test]
fn mistakes_in_the_command_line_are_named() {
    for (arguments, part) in [
        (&[][..], "check, notes, charts, index or push"),
        (&["ship"], "\"ship\""),
        (&["index"], "--url"),
        (&["push"], "--to"),
        (&["check", "--tag"], "needs a value"),
        (&["check", "--what"], "--what"),
    ] {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let error = run(&arguments).unwrap_err().to_string();
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

fn workflows() -> Vec<(String, String)> {
    let dir = crate::root().join(".github/workflows");
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
    };
    let found: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| read(entry.unwrap())).collect();
    assert!(found.iter().any(|(name, _)| name == "release.yml"), "{found:?}");
    found
}

/// Whatever runs with our identity is named by its content, not by a tag that somebody may move.
#[test]
fn workflows_pin_what_they_use_and_start_without_permissions() {
    for (name, text) in workflows() {
        let workflow: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let permissions = workflow["permissions"].as_object().unwrap();
        assert!(permissions.values().all(|value| value == "read"), "{name}: {permissions:?}");
        for used in text.lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("uses: "))
        {
            let pinned = used.split_once('@').is_some_and(|(_, version)| {
                let (commit, comment) = version.split_once(" # v").unwrap_or_default();
                commit.len() == 40
                    && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && !comment.is_empty()
            });
            assert!(pinned || used.starts_with("./"), "{name}: {used}");
        }
    }
}

/// The arguments of each `cargo xtask` in the workflows, without the shell's quotes.
fn calls() -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for (_, text) in workflows() {
        let joined = text.replace("\\\n", " ");
        let lines = joined.lines().filter(|line| !line.trim_start().starts_with('#'));
        for (_, rest) in lines.filter_map(|line| line.split_once("cargo xtask ")) {
            let command = rest.split(['|', '>', ';', ')']).next().unwrap_or_default();
            let words = command.split_whitespace().filter(|word| !word.contains("[@]"));
            calls.push(words.map(|word| word.replace('"', "")).collect());
        }
    }
    calls
}

#[test]
fn workflows_call_tasks_with_options_that_they_know() {
    let calls = calls();
    let mut seen = std::collections::BTreeSet::new();
    for call in &calls {
        let (task, rest) = call.split_first().unwrap();
        match task.as_str() {
            "release" => {
                seen.insert(rest[0].as_str());
                Options::parse(&rest[1..]).unwrap();
            }
            "image" => crate::image::check(rest).unwrap(),
            "test" => assert!(rest.is_empty() || rest == ["advisories"], "{call:?}"),
            other => panic!("no workflow needs the task {other}: {call:?}"),
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["charts", "check", "index", "notes", "push"]);
}
