//! Pods that come and go on every node while a test does something to the cluster.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use testbed::wait;

use crate::{Pod, World};

/// What became of the pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were judged.
    pub pods: usize,
    /// Those that were not ready within a minute, with their events.
    pub never_ready: Vec<String>,
    /// Those that ran without an interface that they had asked for.
    pub without_network: Vec<String>,
    /// Those that nothing could be found out about.
    pub unknown: Vec<String>,
}

impl Tally {
    /// Whether all pods got what they asked for, and there were pods.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.pods > 0
            && self.never_ready.is_empty()
            && self.without_network.is_empty()
            && self.unknown.is_empty()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pods, never_ready, without_network, unknown } = self;
        write!(
            formatter,
            "{pods} pods: {} never ready, {} without a network that they asked for, {} unknown",
            never_ready.len(),
            without_network.len(),
            unknown.len()
        )?;
        for line in never_ready.iter().chain(without_network).chain(unknown) {
            write!(formatter, "\n  {line}")?;
        }
        Ok(())
    }
}

/// The pods so far, for whoever works beside them.
#[derive(Debug)]
pub struct Churn<'a> {
    tally: &'a Mutex<Tally>,
}

impl Churn<'_> {
    /// While `during` runs, each node gets pods with none, one and both of `networks`, one after the other. Each is judged from
    /// inside its own network namespace, when it is ready, and again when its successor is; then it is deleted. At the end all
    /// are deleted.
    ///
    /// # Errors
    /// What `during` failed with, or why pods could not be deleted.
    pub fn beside<T>(
        world: &World,
        networks: [&str; 2],
        during: impl FnOnce(&Churn<'_>) -> Result<T>,
    ) -> Result<(T, Tally)> {
        let stop = AtomicBool::new(false);
        let tally = Mutex::new(Tally::default());
        let done = thread::scope(|scope| {
            for node in world.cluster().nodes() {
                scope.spawn(|| pods_on(world, node.name(), networks, &stop, &tally));
            }
            // Also when it panics: the threads must not go on for ever.
            let _stop = Stop(&stop);
            during(&Churn { tally: &tally })
        });
        let tally = lock(&tally).clone();
        world.kubectl(&["delete", "pod", "--selector=app=churn", "--timeout=120s"])?;
        Ok((done?, tally))
    }

    /// Waits until that many more pods have been judged.
    ///
    /// # Errors
    /// When they are not within minutes.
    pub fn pods(&self, more: usize) -> Result<()> {
        let wanted = lock(self.tally).pods + more;
        wait::until(&format!("{more} more pods"), Duration::from_secs(300), || {
            (lock(self.tally).pods >= wanted).then_some(())
        })
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn pods_on(world: &World, node: &str, networks: [&str; 2], stop: &AtomicBool, tally: &Mutex<Tally>) {
    let mut previous: Option<(Pod, usize)> = None;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let wanted = number % 3;
        let mut pod = Pod::new(&format!("churn-{node}-{number}"), node).app("churn");
        if wanted > 0 {
            pod = pod.networks(networks[..wanted].join(","));
        }
        let started = world.create(std::slice::from_ref(&pod)).map(|()| world.wait_ready(&pod.name));
        {
            let mut tally = lock(tally);
            tally.pods += 1;
            match &started {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tally.never_ready.push(format!("{error:#}")),
                Err(error) => tally.unknown.push(format!("{}: {error:#}", pod.name)),
            }
        }
        let complete =
            matches!(started, Ok(Ok(()))) && judge(world, &pod, wanted, "when it was ready", tally);
        if let Some((pod, wanted)) = previous.take() {
            judge(world, &pod, wanted, "later", tally);
            // Not waited for: its end and the next one's start are to meet.
            let _ = world.kubectl(&["delete", "pod", &pod.name, "--wait=false"]);
        }
        // One that lacks something is counted once.
        if complete {
            previous = Some((pod, wanted));
        }
    }
}

/// Whether the pod has what it asked for.
fn judge(world: &World, pod: &Pod, wanted: usize, when: &str, tally: &Mutex<Tally>) -> bool {
    let name = &pod.name;
    match world.interfaces(name) {
        Err(error) => {
            lock(tally).unknown.push(format!("{name} {when}: {error:#}"));
            false
        }
        Ok(interfaces) => {
            let missing = (1..=wanted).map(|number| format!("net{number}"));
            let missing: Vec<_> = missing.filter(|name| !interfaces.contains_key(name)).collect();
            if !missing.is_empty() {
                lock(tally).without_network.push(format!("{name} {when} lacks {}", missing.join(", ")));
            }
            missing.is_empty()
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
