//! Installs the thin plugin on a node: the program, a kubeconfig, the CNI configuration that makes the runtime call it; and keeps
//! them right while it runs (upstream §7).
//!
//! Different from upstream on purpose: an error ends it with a code that is not 0; the token is followed whatever the flags;
//! a configuration is never half-written, and is put back when it is lost; records that ADDs left in the spool are made.
//!
//! Start reading at [`run`], then `install.rs`.

pub(crate) mod files;
pub(crate) mod flags;
mod install;
mod json;
mod kubeconfig;
mod netconf;
mod options;
mod primary;
mod spool;
pub(crate) mod stop;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use install::Installation;
use options::{Asked, Options};
use spool::Spool;
use stop::Stop;

/// How often everything is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long what was installed may be impossible to keep right: a full disk, a token that is being replaced. What is there goes on
/// working meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let options = match Options::read(arguments, &|name| std::env::var(name).ok()) {
        Ok(Asked::Run(options)) => *options,
        Ok(Asked::Help(text)) => {
            let _ = io::stderr().write_all(text.as_bytes());
            // Upstream's code.
            return ExitCode::FAILURE;
        }
        Ok(Asked::Unknown(error)) => return flags::unknown(&error),
        Err(error) => return failed(&error),
    };
    match Stop::on_signals().map_err(|error| format!("cannot listen for signals: {error}")) {
        Ok(stop) => match keep(options, &stop, &say) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

fn say(line: &str) {
    // A container without a log goes on.
    let _ = writeln!(io::stdout(), "{line}");
}

fn failed(error: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::FAILURE
}

/// Installs, then keeps what is installed right until `stop` is asked for.
fn keep(options: Options, stop: &Stop, say: &dyn Fn(&str)) -> Result<(), String> {
    let mut spool = Spool::new(options.spool.clone(), options.kubeconfig_path());
    let mut installation = Installation::new(options, say)?;
    let kept = installation.install(stop).and_then(|()| {
        say("Entering watch loop...");
        let mut failing_since = None;
        while !stop.within(TICK) {
            match installation.look() {
                Ok(()) => failing_since = None,
                Err(error) => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PATIENCE {
                        return Err(error);
                    }
                    say(&error);
                }
            }
            spool.drain(say);
        }
        Ok(())
    });
    installation.clean_up();
    kept
}

#[cfg(test)]
mod tests;
