//! Puts the plugin into directories of the node: once, from an init container, or with `--keep` for as long as the
//! pod lives.
//!
//! Start reading at [`run`], then `keep.rs`.

mod folder;
mod keep;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use node_config::{Program, Setting};

use self::keep::Keeping;
use crate::thin_entrypoint::flags::{self, Flag, HELP, Values, list, switch, text};
use crate::thin_entrypoint::{self, files};

const SOURCE: &str = "/usr/src/multus-cni/bin";
const DESTINATION: &str = "/host/opt/cni/bin";
const FLAGS: [Flag; 10] = [
    text("cni-conf-dir", "/host/etc/cni/net.d", "with --keep: directory of CNI configurations"),
    text(
        "daemonset",
        "",
        "with --keep: NAMESPACE/NAME of the own DaemonSet; when it is deleted, the programs are removed",
    ),
    Flag {
        short: Some('d'),
        ..list("dest-dir", "destination directory; where none is given, /host/opt/cni/bin")
    },
    switch(
        "healthy",
        false,
        "only tell, by the exit code, whether the programs are there and work; for a probe, with the same flags as the container",
    ),
    HELP,
    text("journals", "/var/lib/cni/multus", "with --keep: directory of the plugin's journals"),
    switch("keep", false, "do not end, and put back what is lost or damaged"),
    text("node-name", "", "with --keep: name of the node, for --daemonset"),
    text(
        "owner",
        "",
        "with --keep: name of this install, as its configuration has it; by default --daemonset's",
    ),
    Flag { short: Some('t'), ..text("type", "", "which plugin to copy: thick or thin") },
];

/// What goes where.
#[derive(Debug, Clone)]
struct Delivery {
    /// The plugin's name; `passthru` goes with it.
    plugin: &'static str,
    source: PathBuf,
    destinations: Vec<PathBuf>,
}

/// What the program was asked for.
enum Asked {
    /// The list of flags.
    Help,
    /// To copy, once.
    Copy(Delivery),
    /// To stay.
    Keep(Box<Keeping>),
    /// To tell whether all is in place.
    Health(Delivery),
}

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let values = match flags::parse(&FLAGS, arguments) {
        Ok(values) => values,
        Err(error) => return flags::unknown(&error),
    };
    let done = Asked::of(&values, Path::new(SOURCE)).and_then(|asked| match asked {
        Asked::Help => {
            let _ = io::stderr().write_all(flags::usage("install_multus", &FLAGS).as_bytes());
            // Upstream's code; init containers of others may rely on it.
            Ok(ExitCode::FAILURE)
        }
        Asked::Copy(delivery) => copy(&delivery, &mut io::stdout()).map(|()| ExitCode::SUCCESS),
        Asked::Keep(keeping) => keep::run(&keeping).map(|()| ExitCode::SUCCESS),
        Asked::Health(delivery) => Ok(thin_entrypoint::told(&folder::troubles(&delivery))),
    });
    done.unwrap_or_else(|error| thin_entrypoint::failed(&error))
}

impl Asked {
    fn of(values: &Values, source: &Path) -> Result<Self, String> {
        if values.is_on("help") {
            return Ok(Self::Help);
        }
        let delivery = Delivery::of(values, source)?;
        if values.is_on("healthy") {
            return Ok(Self::Health(delivery));
        }
        if values.is_on("keep") {
            return Keeping::of(values, delivery).map(Box::new).map(Self::Keep);
        }
        if !values.text("daemonset").is_empty() {
            return Err("--daemonset is for --keep: without it nobody is there to see the DaemonSet deleted"
                .to_owned());
        }
        Ok(Self::Copy(delivery))
    }
}

impl Delivery {
    fn of(values: &Values, source: &Path) -> Result<Self, String> {
        let plugin = match values.text("type").as_str() {
            "thick" => "multus-shim",
            "thin" => "multus",
            _ => return Err("--type is missing or --type has invalid value".to_owned()),
        };
        let mut destinations: Vec<PathBuf> = values.list("dest-dir").iter().map(PathBuf::from).collect();
        if destinations.is_empty() {
            destinations.push(DESTINATION.into());
        }
        Ok(Self { plugin, source: source.to_owned(), destinations })
    }

    /// The programs, to be in `dir`.
    fn programs(&self, dir: &Path) -> Vec<Program> {
        [self.plugin, "passthru"].map(|name| self.program(name, dir)).into()
    }

    /// The plugin of the other mode.
    fn former(&self, dir: &Path) -> Program {
        self.program(if self.plugin == "multus" { "multus-shim" } else { "multus" }, dir)
    }

    fn program(&self, name: &str, dir: &Path) -> Program {
        Program::new(self.source.join(name), dir.join(name))
    }
}

fn copy(delivery: &Delivery, output: &mut dyn Write) -> Result<(), String> {
    let Delivery { plugin, source, destinations } = delivery;
    for dir in destinations {
        let copy = |name: &str| {
            files::install(&source.join(name), &dir.join(name)).map_err(|error| {
                let advice = Setting::BinDir.advice(&error);
                format!("failed to copy file {name}: to {}: {error}. {advice}", dir.display())
            })
        };
        copy(plugin)?;
        let _ = writeln!(output, "multus {plugin} copy succeeded!");
        copy("passthru")?;
        let _ = writeln!(output, "passthru cni {} copy succeeded!", source.join("passthru").display());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
