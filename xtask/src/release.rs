//! `cargo xtask release`: what the release workflow does besides tests and images, each step of it to be run anywhere.
//!
//! | step | does |
//! |---|---|
//! | `check --tag TAG` | refuses a tag that the tree's version and changelog do not agree with |
//! | `notes --tag TAG` | prints the changelog of that release |
//! | `charts` | packs the charts with the release's versions |
//! | `index --url URL` | writes the index of a chart repository over the packed charts, added to an earlier one |
//! | `push --to oci://…` | pushes the packed charts to a registry |

mod charts;
mod version;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use self::charts::Charts;
use self::version::Version;
use crate::say;

#[derive(Debug)]
struct Options {
    out: PathBuf,
    tag: Option<String>,
    url: Option<String>,
    merge: Option<PathBuf>,
    to: Option<String>,
    plain_http: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let out = crate::root().join("target/release-charts");
        let mut options = Self { out, tag: None, url: None, merge: None, to: None, plain_http: false };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().cloned().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--out" => options.out = value()?.into(),
                "--tag" => options.tag = Some(value()?),
                "--url" => options.url = Some(value()?),
                "--merge" => options.merge = Some(value()?.into()),
                "--to" => options.to = Some(value()?),
                "--plain-http" => options.plain_http = true,
                other => bail!("release knows no {other:?}; see `cargo xtask`"),
            }
        }
        Ok(options)
    }

    /// The tag's version; the tree's own where no tag is given.
    fn version(&self) -> Result<Version> {
        self.tag.as_deref().map_or_else(|| Version::of_tag(&format!("v{}", version::TREE)), Version::of_tag)
    }
}

/// Runs one step.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (step, rest) =
        arguments.split_first().context("release takes a step: check, notes, charts, index or push")?;
    let options = Options::parse(rest)?;
    match step.as_str() {
        "check" => {
            let version = options.version()?;
            version::agree(&version, version::TREE, &changelog()?)?;
            say(&format!("{} can be released", version.tag()));
        }
        "notes" => say(version::notes(&options.version()?, &changelog()?)?),
        "charts" => {
            for packed in Charts::new(&options.out)?.pack(&options.version()?)? {
                say(&packed.display().to_string());
            }
        }
        "index" => {
            let url = options
                .url
                .as_deref()
                .context("index needs --url, from where the packed charts will be fetched")?;
            say(&Charts::new(&options.out)?.index(url, options.merge.as_deref())?.display().to_string());
        }
        "push" => {
            let to = options.to.as_deref().context("push needs --to, as in oci://registry.example/charts")?;
            for pushed in Charts::new(&options.out)?.push(to, options.plain_http)? {
                say(&pushed);
            }
        }
        other => bail!("release has no step {other:?}; there are: check, notes, charts, index, push"),
    }
    Ok(())
}

fn changelog() -> Result<String> {
    let path = crate::root().join("CHANGELOG.md");
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests;
