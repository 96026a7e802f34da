//! Approves the requests by which nodes get client certificates of their own, for `perNodeCertificate` and
//! `kubeconfig_generator`. What it approves is decided in `kube_cluster::approval`; here is when.
//!
//! Every request is looked at as the API server tells of it; one about which the API server does not take our word is tried again
//! until it is gone. Several of these may run: whoever comes second finds the request settled.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kube_cluster::approval::{SigningRequest, Verdict};
use kube_cluster::watch::{Event, Watch, Watched};
use kube_cluster::{Error, Session, Source};

use crate::thin_entrypoint::flags::{self, Flag, HELP, text};
use crate::thin_entrypoint::stop::Stop;

const FLAGS: [Flag; 2] =
    [HELP, text("kubeconfig", "", "kubeconfig; default: the service account of this pod")];
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SIGNER: &str = "spec.signerName=kubernetes.io/kube-apiserver-client";
/// How soon a signal is noticed.
const TICK: Duration = Duration::from_secs(1);
/// One decision's time.
const LIMIT: Duration = Duration::from_secs(10);
/// One that the API server did not take is told again after 1 s, 2 s, 4 s, … and never more seldom than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How many wait to be told again; what is beyond is told after the next list.
const MOST_WAITING: usize = 1024;

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let values = match flags::parse(&FLAGS, arguments) {
        Ok(values) => values,
        Err(error) => return flags::unknown(&error),
    };
    if values.is_on("help") {
        let _ = io::stdout().write_all(flags::usage("cert-approver", &FLAGS).as_bytes());
        return ExitCode::SUCCESS;
    }
    let kubeconfig = Some(values.text("kubeconfig")).filter(|path| !path.is_empty());
    let source = kubeconfig.map_or(Source::Pod, |path| Source::Kubeconfig(PathBuf::from(path)));
    match approve(&source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

fn approve(source: &Source) -> Result<(), String> {
    let stop = Stop::on_signals().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let watched = Watched::all(REQUESTS, "certificatesigningrequests").selected(SIGNER);
    let watch = Watch::start(source.clone(), watched).map_err(|error| error.to_string())?;
    let session = Session::start(source.clone()).map_err(|error| error.to_string())?;
    say("starts");
    let mut approver = Approver::new(move |name: &str| session.settle(name, Instant::now() + LIMIT), say);
    // A decision is not waited for at the end: what is not settled is settled by the next one.
    std::thread::spawn(move || {
        loop {
            let event = watch.next_within(approver.pause(Instant::now()));
            approver.take(event, Instant::now());
        }
    });
    while !stop.within(TICK) {}
    Ok(())
}

/// Lines for an administrator. What requests say is quoted, or the API server's own.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "cert-approver: {}", engine::printable(line));
}

/// What is known of requests that are not settled.
struct Approver<S, L> {
    /// Judges a request as it is, and tells the API server.
    settle: S,
    say: L,
    waiting: BTreeMap<String, Waiting>,
    lost: Option<String>,
}

/// A request about which the API server could not be told.
struct Waiting {
    attempts: u32,
    due: Instant,
}

impl<S: FnMut(&str) -> Result<Verdict, Error>, L: Fn(&str)> Approver<S, L> {
    fn new(settle: S, say: L) -> Self {
        Self { settle, say, waiting: BTreeMap::new(), lost: None }
    }

    /// How long there is nothing to do unless an event comes.
    fn pause(&self, now: Instant) -> Duration {
        let next = self.waiting.values().map(|waiting| waiting.due).min();
        next.map_or(LONGEST_PAUSE, |due| due.saturating_duration_since(now)).min(LONGEST_PAUSE)
    }

    /// Takes what the watch tells, and what is due.
    fn take(&mut self, event: Option<Event<SigningRequest>>, now: Instant) {
        match event {
            Some(Event::Found(request)) => match request.judge() {
                // Others' requests cost nothing but their reading.
                Verdict::NotOurs => {}
                Verdict::Settled => drop(self.waiting.remove(request.name())),
                Verdict::Approve { .. } | Verdict::Deny(_) => self.settle(request.name(), now),
            },
            Some(Event::Gone(request)) => drop(self.waiting.remove(request.name())),
            Some(Event::Current) if self.lost.take().is_some() => {
                (self.say)("certificatesigningrequests can be watched again");
            }
            Some(Event::Lost(error)) => {
                let error = error.to_string();
                if self.lost.as_ref() != Some(&error) {
                    (self.say)(&format!("cannot watch certificatesigningrequests: {error}"));
                    self.lost = Some(error);
                }
            }
            Some(Event::PassedOver(reason)) => (self.say)(&format!("a request was passed over: {reason}")),
            Some(Event::Listing | Event::Complete | Event::Current) | None => {}
        }
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.due <= now).map(|(name, _)| name.clone());
        for name in due.collect::<Vec<_>>() {
            self.settle(&name, now);
        }
    }

    fn settle(&mut self, name: &str, now: Instant) {
        match (self.settle)(name) {
            Ok(verdict) => {
                self.waiting.remove(name);
                match verdict {
                    Verdict::Approve { node } => (self.say)(&format!("approved {name:?}: node {node}")),
                    Verdict::Deny(reason) => (self.say)(&format!("denied {name:?}: {reason}")),
                    Verdict::NotOurs | Verdict::Settled => {}
                }
            }
            Err(error) => self.again(name, &error, now),
        }
    }

    fn again(&mut self, name: &str, error: &Error, now: Instant) {
        if self.waiting.len() >= MOST_WAITING && !self.waiting.contains_key(name) {
            (self.say)(&format!("{name:?} is left to the next list, too many wait: {error}"));
            return;
        }
        let waiting = self.waiting.entry(name.to_owned()).or_insert(Waiting { attempts: 0, due: now });
        let pause = Duration::from_secs(1 << waiting.attempts.min(6)).min(LONGEST_PAUSE);
        waiting.attempts += 1;
        waiting.due = now + pause;
        if waiting.attempts == 1 {
            (self.say)(&format!("{name:?} is tried again: {error}"));
        }
    }
}

#[cfg(test)]
mod tests;
