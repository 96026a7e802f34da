//! Every case of `charts/multus/tests/cases` renders as the file beside it says, with Helm 3 and with Helm 4.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use chart::case;
use chart::helm::Helm;
use serde_json::Value;

#[test]
fn every_case_renders_as_its_golden_file_says_with_both_helms() {
    let cases = case::all().unwrap();
    let mut wrong = Vec::new();
    for helm in Helm::both().unwrap() {
        let rendered = case::render_all(&cases, &helm);
        for (name, render) in rendered {
            let golden = &cases[cases[&name].golden_of(&helm)];
            let wanted = fs::read_to_string(golden.golden()).unwrap_or_default();
            match render {
                Ok(text) if text == wanted => {}
                Ok(text) => wrong.push(format!(
                    "Helm {} renders {name} otherwise than {}:\n{}",
                    helm.major,
                    golden.golden().display(),
                    case::difference(&wanted, &text)
                )),
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n`cargo xtask chart` writes the files anew; `git diff` shows what changed",
        wrong.join("\n")
    );
}

/// kubectl and Helm take the last of two; Flux and the API server's own decoder refuse the object.
#[test]
fn no_golden_file_has_a_key_twice() {
    assert!(serde_saphyr::from_multiple::<Value>("a: 1\na: 2\n").is_err(), "the parser tells");
    for case in case::all().unwrap().values() {
        let text = fs::read_to_string(case.golden()).unwrap();
        let parsed = serde_saphyr::from_multiple::<Value>(&text);
        assert!(parsed.is_ok(), "{}: {}", case.golden().display(), parsed.unwrap_err());
    }
}

/// Those that have a file of their own differ in something; these do not.
#[test]
fn platforms_without_a_golden_file_are_like_any_other_cluster() {
    let helm = Helm::four().unwrap();
    let daemonset = |platform: &str| {
        let set = ["--set".to_owned(), format!("platform={platform}")];
        let rest =
            ["--kube-version", "v1.34.4", "--show-only", "templates/daemonset.yaml"].map(str::to_owned);
        let said = helm.template(&chart::dir("multus"), &[&set[..], &rest].concat()).unwrap();
        assert!(said.success, "{}", said.stderr);
        said.stdout
    };
    let platforms = fs::read_to_string(chart::dir("multus").join("files/platforms.yaml")).unwrap();
    let names = platforms.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    let names: Vec<_> = names.filter_map(|line| line.split_once(':').map(|(name, _)| name)).collect();
    let cases = case::all().unwrap();
    let generic = daemonset("generic");
    let mut plain = Vec::new();
    for name in names.iter().filter(|name| !cases.contains_key(&format!("platform-{name}"))) {
        if daemonset(name) == generic {
            plain.push(*name);
        }
    }
    assert_eq!(plain, ["generic", "rke2", "harvester", "minikube", "flatcar"]);
}
