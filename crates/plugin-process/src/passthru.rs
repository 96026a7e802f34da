//! `passthru`: a CNI plugin that does nothing. It stands first in an auxiliary chain, which needs a plugin that begins it.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use libcni::skel;
use libcni::{CniError, Verb};

/// The versions that upstream's passthru speaks.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A configuration is a few kilobytes.
const LARGEST_STDIN: u64 = 1 << 20;

/// Answers one call.
#[must_use]
pub fn run() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_none_or(|command| command.is_empty()) {
        let versions = VERSIONS.join(", ");
        let _ = writeln!(
            io::stderr(),
            "Passthrough CNI Plugin v1.0\nCNI protocol versions supported: {versions}"
        );
        return ExitCode::SUCCESS;
    }
    let (output, code) = match answer() {
        Ok(output) => (output, ExitCode::SUCCESS),
        Err(error) => (skel::print_error(&error), ExitCode::FAILURE),
    };
    match io::stdout().write_all(&output) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer() -> Result<Vec<u8>, CniError> {
    let mut stdin = Vec::new();
    if std::env::var("CNI_COMMAND").as_deref() != Ok("VERSION") {
        let read = io::stdin().take(LARGEST_STDIN).read_to_end(&mut stdin);
        read.map_err(|error| CniError::new(CniError::IO, format!("error reading from stdin: {error}"), ""))?;
    }
    let call = skel::parse_call(&|name| std::env::var(name).ok(), stdin)?;
    if call.command == Verb::Version {
        let quoted = VERSIONS.map(|version| format!("{version:?}")).join(",");
        return Ok(format!("{{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[{quoted}]}}\n").into_bytes());
    }
    if !VERSIONS.contains(&call.cni_version.as_str()) {
        let quoted = VERSIONS.map(|version| format!("{version:?}")).join(" ");
        return Err(CniError::new(
            CniError::INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            format!("config is {:?}, plugin supports [{quoted}]", call.cni_version),
        ));
    }
    match call.command {
        Verb::Add => Ok(skel::pretty_result(format!("{{\"cniVersion\":{:?}}}", call.cni_version).as_bytes())),
        _ => Ok(Vec::new()),
    }
}
