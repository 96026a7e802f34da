//! Links between the documents lead somewhere: to a file that is there, and to a heading that it has.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where documents are, from the root of the tree; a folder stands for what is in it.
const DOCUMENTS: [&str; 10] = [
    "README.md",
    "README.zh-CN.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs",
    "charts",
    "examples",
    "conformance/README.md",
];

#[test]
fn relative_links_lead_to_files_and_headings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut documents = Vec::new();
    for document in DOCUMENTS {
        collect(&root.join(document), &mut documents);
    }
    let mut links = 0;
    let mut broken = Vec::new();
    for document in &documents {
        for (line, target) in relative_links(&fs::read_to_string(document).unwrap()) {
            links += 1;
            if let Some(why) = trouble(document, &target) {
                let document = document.strip_prefix(root).unwrap().display();
                broken.push(format!("{document}:{line}: {target}: {why}"));
            }
        }
    }
    assert!(links > 50, "only {links} links in {} documents: the scan does not see them", documents.len());
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Markdown files below `path`. Links to folders are not followed: what they lead to is read where it is.
fn collect(path: &Path, documents: &mut Vec<PathBuf>) {
    let kind = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if kind.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| collect(entry, documents));
    } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "md") {
        documents.push(path.to_owned());
    }
}

/// Why a link of `document` leads nowhere, if so.
fn trouble(document: &Path, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if path.is_empty() { document.to_owned() } else { document.parent().unwrap().join(path) };
    if !file.exists() {
        return Some("there is no such file".to_owned());
    }
    if anchor.is_empty() {
        return None;
    }
    let Ok(text) = fs::read_to_string(&file) else { return Some("a folder has no headings".to_owned()) };
    (!anchors(&text).contains(anchor)).then(|| "it has no such heading".to_owned())
}

/// Lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Targets of inline links that have no scheme, with the number of their line.
fn relative_links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push((number, target.to_owned()));
            }
        }
    }
    found
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug: String = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let again = (1..).map(|count| format!("{slug}-{count}"));
        let free = std::iter::once(slug.clone()).chain(again).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

#[test]
fn the_scan_sees_what_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.md");
    let text = "# A title, with `code`\n## Again\n## Again\n[a](#a-title-with-code) [b](page.md#again-1) ![c](no.png)\n\
                `[d](in-code)` [e](page.md#none) [f](https://example.org/x) [g](other.md#x \"title\")\n\
                ```sh\n# no heading\n[h](in-a-block)\n```\n[i](#no-heading)\n";
    fs::write(&page, text).unwrap();
    let broken: Vec<_> = relative_links(text)
        .into_iter()
        .filter(|(_, target)| trouble(&page, target).is_some())
        .map(|(line, target)| format!("{line} {target}"))
        .collect();
    assert_eq!(broken, ["4 no.png", "5 page.md#none", "5 other.md#x", "10 #no-heading"]);
}
