//! One CNI call as one process: environment and standard input in, a result or an error object out.
//!
//! What the plugins of this project have in common: flags, the checks before anything is done, the log of a process that lives for
//! some milliseconds, and `passthru`. What a call does is handed in; this crate knows no cluster.
//!
//! Start reading at [`run()`].

mod log;
pub mod passthru;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use libcni::skel::{self, Call};
use libcni::{CniError, SUPPORTED, Verb};
use plan::NetConf;

pub use log::{LogFile, ProcessLog};

/// A netconf with all that a runtime hands over is some kilobytes; a pod's annotations are limited to 256 KiB.
const LARGEST_STDIN: u64 = 16 << 20;

const ABOUT: &str = "meta-plugin that delegates to other CNI plugins";

/// A plugin.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The name that it goes by in its texts: `multus`, `multus-shim`.
    pub name: &'static str,
    /// Whether it logs to stderr where the netconf does not say (upstream: thin does, the shim does not).
    pub logs_to_stderr: bool,
}

/// What does the work of a call. VERSION is answered without it.
pub type Answer<'a> = dyn Fn(&Call, &NetConf, &ProcessLog) -> Result<Vec<u8>, CniError> + 'a;

/// Answers one call of `program` and tells how the process ends: 0, or 1 with an error object printed, or 2 for a wrong flag.
#[must_use]
pub fn run(program: Program, arguments: &[String], work: &Answer<'_>) -> ExitCode {
    if let Some(argument) = arguments.first() {
        return flag(program.name, argument);
    }
    if std::env::var_os("CNI_COMMAND").is_none_or(|command| command.is_empty()) {
        // A person has called it. Upstream's texts.
        let _ = writeln!(io::stderr(), "{ABOUT}\nCNI protocol versions supported: {}", SUPPORTED.join(", "));
        return ExitCode::SUCCESS;
    }
    // It outlives the answer: what is left to do about a full file is done when it is written, out of the call's time.
    let mut log = None;
    match answer(program, work, &mut log) {
        Ok(output) => {
            if let Err(error) = io::stdout().write_all(&output) {
                let _ = writeln!(io::stderr(), "{}: cannot write the result: {error}", program.name);
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = io::stdout().write_all(&skel::print_error(&error));
            ExitCode::FAILURE
        }
    }
}

/// What `-version` prints after the program's name, in upstream's shape.
#[must_use]
pub fn version() -> String {
    format!(
        "version:v{}(multus-rs), commit:{}, date:{}",
        env!("CARGO_PKG_VERSION"),
        option_env!("MULTUS_COMMIT").unwrap_or("unknown commit"),
        option_env!("MULTUS_DATE").unwrap_or("unknown date"),
    )
}

fn flag(name: &str, argument: &str) -> ExitCode {
    match argument.trim_start_matches('-') {
        "v" | "version" if argument.starts_with('-') => {
            let _ = writeln!(io::stdout(), "{name}: {}", version());
            ExitCode::SUCCESS
        }
        "h" | "help" if argument.starts_with('-') => {
            let _ = writeln!(
                io::stderr(),
                "{name}: {ABOUT}\n\nA container runtime calls it with CNI_COMMAND and the other CNI_* variables set and a network\n\
                 configuration on standard input.\n\n  -v, -version   print the version"
            );
            ExitCode::SUCCESS
        }
        _ => {
            let _ = writeln!(io::stderr(), "{name}: unknown argument {argument:?}; -h shows what there is");
            ExitCode::from(2)
        }
    }
}

fn answer(program: Program, work: &Answer<'_>, log: &mut Option<ProcessLog>) -> Result<Vec<u8>, CniError> {
    let call = skel::parse_call(&|name| std::env::var(name).ok(), read_stdin()?)?;
    if call.command == Verb::Version {
        return Ok(skel::version_answer());
    }
    refuse_own_namespace(&call)?;
    let netconf = NetConf::parse(&call.stdin).map_err(|error| {
        let error = error.to_cni();
        // Upstream's DEL does not wrap this error.
        let wrapper = if call.command == Verb::Del { "" } else { "Multus: error loading netconf: " };
        CniError { msg: format!("{wrapper}{}", error.msg), ..error }
    })?;
    work(&call, &netconf, log.insert(ProcessLog::of(&netconf, program.logs_to_stderr)))
}

fn read_stdin() -> Result<Vec<u8>, CniError> {
    let mut stdin = Vec::new();
    // VERSION must answer without a configuration, and runtimes may leave the pipe open (C-57).
    if std::env::var("CNI_COMMAND").as_deref() == Ok("VERSION") {
        return Ok(stdin);
    }
    io::stdin()
        .take(LARGEST_STDIN + 1)
        .read_to_end(&mut stdin)
        .map_err(|error| CniError::new(CniError::IO, format!("error reading from stdin: {error}"), ""))?;
    if stdin.len() as u64 > LARGEST_STDIN {
        let msg = format!("the network configuration is larger than {} MiB", LARGEST_STDIN >> 20);
        return Err(CniError::new(CniError::DECODE, msg, ""));
    }
    Ok(stdin)
}

/// A sandbox that is the host's own namespace would have the host's links made, moved and deleted. skel refuses it after the fact;
/// here it is refused before anything is touched.
fn refuse_own_namespace(call: &Call) -> Result<(), CniError> {
    use std::os::unix::fs::MetadataExt;
    if call.netns.is_empty() || call.netns_override {
        return Ok(());
    }
    let identity = |path: &str| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let own = identity("/proc/self/ns/net");
    if own.is_some() && own == identity(&call.netns) {
        return Err(CniError::new(
            CniError::INVALID_NETNS,
            "plugin's netns and netns from CNI_NETNS should not be the same",
            "",
        ));
    }
    Ok(())
}
