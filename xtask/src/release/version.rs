//! The release's version, and what must agree with it.

use anyhow::{Context, Result, bail};

/// The version that the programs are built with.
pub(super) const TREE: &str = env!("CARGO_PKG_VERSION");

/// A version without its `v`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Version(String);

impl Version {
    /// From a tag as `v4.0.1` or `v4.1.0-rc.1`.
    pub(super) fn of_tag(tag: &str) -> Result<Self> {
        let bad = || format!("{tag:?} is no release tag; those are like v4.0.1 or v4.1.0-rc.1");
        let version = tag.strip_prefix('v').with_context(bad)?;
        let (numbers, pre) =
            version.split_once('-').map_or((version, None), |(numbers, pre)| (numbers, Some(pre)));
        let number = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && (text == "0" || !text.starts_with('0'))
        };
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let numbers_fit = numbers.split('.').count() == 3 && numbers.split('.').all(number);
        // No `+`: an image's tag cannot have one.
        if !numbers_fit || !pre.is_none_or(|pre| pre.split('.').all(word)) {
            bail!(bad());
        }
        Ok(Self(version.to_owned()))
    }

    /// As charts are versioned.
    pub(super) fn number(&self) -> &str {
        &self.0
    }

    /// As tags, images and the charts' appVersion are written.
    pub(super) fn tag(&self) -> String {
        format!("v{}", self.0)
    }
}

/// Refuses a release whose programs would say another version of themselves, or that nobody has described.
pub(super) fn agree(version: &Version, tree: &str, changelog: &str) -> Result<()> {
    if version.number() != tree {
        bail!(
            "the tag says {} and Cargo.toml says {tree}; set workspace.package.version first",
            version.number()
        );
    }
    notes(version, changelog).map(drop)
}

/// The changelog's section on `version`.
pub(super) fn notes<'a>(version: &Version, changelog: &'a str) -> Result<&'a str> {
    let sections = changelog.split("\n## ").skip(1);
    let mut sections = sections.filter_map(|section| section.split_once('\n'));
    let found = sections.find(|(heading, _)| heading.split_whitespace().next() == Some(version.number()));
    let text = found.map(|(_, text)| text.trim());
    text.filter(|text| !text.is_empty()).with_context(|| {
        format!("CHANGELOG.md has no section \"## {}\"; say there what the release changes", version.number())
    })
}
