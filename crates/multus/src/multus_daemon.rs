//! The daemon of thick mode: serves the shim (crate `daemon`), and keeps the node's CNI configuration right, as `thin_entrypoint`
//! does for thin mode and with the same code.
//!
//! It runs no plugin, and needs no capability: only the API server, the folder of its socket and that of the configuration. The
//! configuration is put into place when shims are answered, and taken away while the runtime could not run the shim.
//!
//! Exit codes are upstream's: 1 for a configuration that cannot be used, 2 where the CNI configuration cannot be
//! made, 3 where nobody can be served, 4 after `-version`.
//!
//! Start reading at [`run`], then `keeper.rs`.

mod arguments;
mod keeper;
mod settings;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::{Config, Lines, Running, SharedLog};
use engine::Level;
use protocol::http;

use crate::thin_entrypoint::failed;
use crate::thin_entrypoint::stop::Stop;
use crate::thin_entrypoint::uninstall;
use arguments::{Asked, Question};
use keeper::Keeper;
use settings::Environment;

/// How long a probe waits for an answer.
const PROBE: Duration = Duration::from_secs(2);

/// Why it ended, and with which code.
struct Ended {
    code: u8,
    why: String,
}

impl Ended {
    fn new(code: u8, why: impl ToString) -> Self {
        Self { code, why: why.to_string() }
    }
}

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let config = match Asked::read(arguments) {
        Asked::Run(config) => config,
        Asked::Version => {
            let _ = writeln!(io::stdout(), "multus-daemon: {}", plugin_process::version());
            return ExitCode::from(4);
        }
        Asked::Help => {
            let _ = io::stderr().write_all(arguments::USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        Asked::Probe { question, config } => return probe(question, &config),
        Asked::Unknown(error) => {
            let _ = writeln!(io::stderr(), "{error}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended { code, why }) => {
            failed(&format!("multus-daemon: {why}"));
            ExitCode::from(code)
        }
    }
}

fn serve(path: &Path) -> Result<(), Ended> {
    let config = read(path).map_err(|why| Ended::new(1, why))?;
    let environment = Environment::of(&|name| std::env::var(name).ok());
    let log: SharedLog = Arc::new(Lines::new(&config.log));
    log.line(Level::Verbose, format_args!("{} starts", protocol::program("multus-daemon")));
    config.notes.iter().for_each(|note| log.line(Level::Verbose, format_args!("{note}")));
    let stop =
        Stop::on_signals().map_err(|error| Ended::new(3, format!("cannot listen for signals: {error}")))?;

    let certificate = settings::certificate(&config, &environment).map_err(|why| Ended::new(1, why))?;
    if let Some(certificate) = certificate {
        certificate.follow(&log).map_err(|why| Ended::new(3, why))?;
    }
    let source = settings::source(&config);
    let running = Running::start(settings::settings(&config, &environment, source.clone()), Arc::clone(&log))
        .map_err(|error| Ended::new(3, error))?;

    let say = |line: &str| log.line(Level::Verbose, format_args!("{line}"));
    let kept = Keeper::new(&config, &environment, source, &say)
        .and_then(|mut keeper| keeper.keep(&running, &stop))
        .map_err(|why| Ended::new(2, why));
    // The configuration first: nobody is called any more where it had to go. Then the socket.
    let served = running.stop().map_err(|error| Ended::new(3, error));
    if matches!(kept, Ok(true)) {
        uninstall::spool(&config.socket_dir.join("spool"), &say);
        settings::forget_certificate(&config, &say);
    }
    kept.and(served)
}

fn read(path: &Path) -> Result<Config, String> {
    let bytes = std::fs::read(path).map_err(|error| {
        format!("cannot read the configuration {}: {error}; -config names it", path.display())
    })?;
    Config::parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// Answers a probe of the kubelet.
fn probe(question: Question, config: &Path) -> ExitCode {
    let answered = read(config).and_then(|config| {
        let answer = ask(question.path(), &config)?;
        if question != Question::Node {
            return Ok(());
        }
        // While one daemon takes over from another, the earlier one's answers must not let a rollout go on.
        if answer != daemon::instance() {
            return Err("the daemon of another pod still answers; this one has not taken over yet".to_owned());
        }
        let environment = Environment::of(&|name| std::env::var(name).ok());
        keeper::trouble(&config, &environment)?.map_or(Ok(()), Err)
    });
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stdout(), "{why}");
            ExitCode::FAILURE
        }
    }
}

/// Asks the daemon at the socket.
fn ask(path: &str, config: &Config) -> Result<String, String> {
    let socket = protocol::socket_path(&config.socket_dir);
    let request = http::Request {
        method: "GET",
        path,
        body: b"",
        largest_answer: 1 << 16,
        deadline: Instant::now() + PROBE,
    };
    let answer =
        http::call(&socket, &request).map_err(|error| format!("{path}: {}: {error}", socket.display()))?;
    let body = String::from_utf8_lossy(&answer.body).trim().to_owned();
    match answer.status {
        200 => Ok(body),
        status => Err(format!("{path}: HTTP status {status}: {body}")),
    }
}

#[cfg(test)]
mod tests;
