//! Copies the plugin to the node, from an init container (upstream §1.3).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use node_config::Setting;

use crate::thin_entrypoint::flags::{self, Flag, HELP, Kind};
use crate::thin_entrypoint::{self, files};

const SOURCE: &str = "/usr/src/multus-cni/bin";
const FLAGS: [Flag; 3] = [
    Flag {
        name: "dest-dir",
        short: Some('d'),
        kind: Kind::Text("/host/opt/cni/bin"),
        help: "destination directory",
    },
    HELP,
    Flag {
        name: "type",
        short: Some('t'),
        kind: Kind::Text(""),
        help: "which plugin to copy: thick or thin",
    },
];

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    match install(arguments, Path::new(SOURCE), &mut io::stdout()) {
        Ok(code) => code,
        Err(error) => thin_entrypoint::failed(&error),
    }
}

fn install(arguments: &[String], source: &Path, output: &mut dyn Write) -> Result<ExitCode, String> {
    let values = match flags::parse(&FLAGS, arguments) {
        Ok(values) => values,
        Err(error) => return Ok(flags::unknown(&error)),
    };
    if values.is_on("help") {
        let _ = io::stderr().write_all(flags::usage("install_multus", &FLAGS).as_bytes());
        // Upstream's code; init containers of others may rely on it.
        return Ok(ExitCode::FAILURE);
    }
    let plugin = match values.text("type").as_str() {
        "thick" => "multus-shim",
        "thin" => "multus",
        _ => return Err("--type is missing or --type has invalid value".to_owned()),
    };
    let destination = PathBuf::from(values.text("dest-dir"));
    let copy = |name: &str| {
        files::install(&source.join(name), &destination.join(name)).map_err(|error| {
            let advice = Setting::BinDir.advice(&error);
            format!("failed to copy file {name}: to {}: {error}. {advice}", destination.display())
        })
    };
    copy(plugin)?;
    let _ = writeln!(output, "multus {plugin} copy succeeded!");
    copy("passthru")?;
    let _ = writeln!(output, "passthru cni {} copy succeeded!", source.join("passthru").display());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
