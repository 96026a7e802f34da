//! Every case of `charts/multus/tests/cases` renders as the file beside it says, with Helm 3 and with Helm 4.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use chart::case;
use chart::helm::Helm;

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
