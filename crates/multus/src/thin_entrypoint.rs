//! Installs the thin plugin on a node: the program, a kubeconfig, the CNI configuration that makes the runtime call it; and keeps
//! them right while it runs. How a configuration is chosen, made and kept is in the crate `node-config`.
//!
//! Different from upstream on purpose: an error ends it with a code that is not 0; the token is followed whatever the flags;
//! a configuration is never half-written, and is put back when it is lost; a primary network is waited for; records that ADDs left
//! in the spool are made; and with `--daemonset`, what is installed is removed exactly when the install is.
//!
//! Start reading at [`run`], then `install.rs` and `daemon_set.rs`.

pub(crate) mod daemon_set;
pub(crate) mod definition;
pub(crate) mod flags;
pub(crate) mod health;
pub(crate) mod install;
mod kubeconfig;
pub(crate) mod options;
mod spool;
pub(crate) mod stop;
pub(crate) mod uninstall;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use kube_cluster::{Session, Source};
use node_config::Changes;
pub(crate) use node_config::file as files;
use node_config::uninstall::Verdict;

use daemon_set::Watcher;
use definition::Definition;
use install::{Failure, Installation, Say};
use options::{Asked, Options};
use spool::Spool;
use stop::Stop;

/// How often everything is looked at, also where the kernel tells of no change: another machine's disk, a swapped directory.
const TICK: Duration = Duration::from_secs(1);
/// How long what was installed may be impossible to keep right: a full disk, a token that is being replaced. What is there goes on
/// working meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the kubelet takes the reason from that it shows with the pod.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let options = match Options::read(arguments, &|name| std::env::var(name).ok()) {
        Ok(Asked::Run(options)) => *options,
        Ok(Asked::Health(options)) => return told(&health::troubles(&options)),
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

/// Tells people, in the container's log.
pub(crate) fn say(line: &str) {
    // A container without a log goes on.
    let _ = writeln!(io::stdout(), "{line}");
}

/// Ends a program of the image with an error that the kubelet shows with the pod.
pub(crate) fn failed(error: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    // Only where the kubelet has put such a file.
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(TERMINATION_LOG) {
        let _ = file.write_all(error.as_bytes());
    }
    ExitCode::FAILURE
}

/// The answer to a probe.
pub(crate) fn told(troubles: &[String]) -> ExitCode {
    troubles.iter().for_each(|trouble| say(trouble));
    if troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Installs, then keeps what is installed right until `stop` is asked for.
fn keep(options: Options, stop: &Stop, say: Say<'_>) -> Result<(), String> {
    let cleanup = options.cleanup;
    let mut installation = Installation::new(options.clone(), say)?;
    let mut watcher = None;
    let kept = installation
        .install()
        .and_then(|()| {
            let session = session(&options)?;
            installation.with_definition(definition(&options, session.as_ref()));
            watcher = session.and_then(|session| Some(Watcher::start(session, options.own.clone()?)));
            installation.configure_first()
        })
        .map_err(|failure| match failure {
            Failure::Passing(error) | Failure::Final(error) => error,
        })
        .and_then(|()| {
            say("Entering watch loop...");
            beside(&options, say, || follow(&mut installation, watcher.as_ref(), stop, say))
        });
    if let (Ok(()), Some(watcher)) = (&kept, &watcher)
        && finish(&mut installation, watcher, say)
    {
        uninstall::spool(&options.spool, say);
    }
    if cleanup {
        clean_up(&installation, say);
    }
    installation.end();
    kept
}

/// A connection to the API server, for those flags that need one.
fn session(options: &Options) -> Result<Option<Arc<Session>>, Failure> {
    if options.own.is_none() && options.wish.definition().is_none() {
        return Ok(None);
    }
    let source = Source::Kubeconfig(options.kubeconfig_path());
    let session = Session::start(source).map_err(|error| {
        Failure::Final(format!("cannot speak to the API server with the pod's own account: {error}"))
    })?;
    Ok(Some(Arc::new(session)))
}

pub(crate) fn definition(options: &Options, session: Option<&Arc<Session>>) -> Option<Definition> {
    let (namespace, name) = options.wish.definition()?;
    Some(Definition::follow(Arc::clone(session?), namespace, name))
}

/// Puts right what changes, until `stop`.
fn follow(
    installation: &mut Installation<'_>,
    watcher: Option<&Watcher>,
    stop: &Stop,
    say: Say<'_>,
) -> Result<(), String> {
    let mut changes = Changes::of(installation.watched());
    let mut failing_since = None;
    loop {
        let stopped = changes.wait(stop.as_fd(), TICK);
        watcher.iter().flat_map(|watcher| watcher.lines()).for_each(|line| say(&line));
        if stopped.map_err(|error| format!("cannot wait for changes: {error}"))? {
            return Ok(());
        }
        match installation.look() {
            Ok(()) => failing_since = None,
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing(error)) => {
                if failing_since.is_none() {
                    say(&error);
                }
                let since = *failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= PATIENCE {
                    return Err(error);
                }
            }
        }
    }
}

/// Runs `work` while the spool is drained in a thread of its own: an API server that is slow must not keep us from a file that is lost.
fn beside<T>(options: &Options, say: Say<'_>, work: impl FnOnce() -> T) -> T {
    let (end, ended) = channel();
    let spool = Spool::new(options.spool.clone(), options.kubeconfig_path());
    std::thread::scope(|scope| {
        scope.spawn(move || drain(spool, say, &ended));
        let done = work();
        drop(end);
        done
    })
}

fn drain(mut spool: Spool, say: Say<'_>, ended: &Receiver<()>) {
    while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        spool.drain(say);
    }
}

/// With `--daemonset`: what is installed goes if the install does, and stays if only this process does. Returns whether it went.
pub(crate) fn finish(installation: &mut Installation<'_>, watcher: &Watcher, say: Say<'_>) -> bool {
    let mut gone = false;
    say(&last_line(watcher, || match installation.has_turn() {
        Ok(true) => {
            gone = true;
            uninstall::remove(installation)
        }
        Ok(false) => "another pod of this install keeps the node".to_owned(),
        Err(Failure::Passing(error) | Failure::Final(error)) => {
            format!("everything stays on the node: {error}")
        }
    }));
    gone
}

/// Removes what is on the node if the install goes, and says what became of it.
pub(crate) fn last_line(watcher: &Watcher, remove: impl FnOnce() -> String) -> String {
    match watcher.verdict() {
        Verdict::Keep(reason) => format!("ending; everything stays on the node: {reason}"),
        Verdict::Remove(reason) => format!("ending; {reason}; {}", remove()),
    }
}

/// With `--cleanup-config-on-exit`: the configuration goes at every end.
fn clean_up(installation: &Installation<'_>, say: Say<'_>) {
    if let Err(error) = installation.remove_configuration() {
        say(&error);
    }
}

#[cfg(test)]
pub(crate) mod tests;
