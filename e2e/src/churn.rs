//! Pods that come and go on every node while a test does something to the cluster.

mod tally;
mod watch;

use std::collections::VecDeque;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use serde_json::Value;
use testbed::cluster::Node;
use testbed::wait;

pub use tally::{Lacking, Tally};

use crate::pod::Interfaces;
use crate::{Pod, World};
use watch::Watch;

/// Between two looks into a pod that does not answer, or at a status that is not there yet.
const PAUSE: Duration = Duration::from_millis(300);

/// How many pods come and go, and how.
#[derive(Debug, Clone)]
pub struct Load {
    networks: [&'static str; 2],
    at_once: usize,
    kept: usize,
    patience: Duration,
}

impl Load {
    /// Pods with none, one and both of `networks`, one after the other on each node.
    #[must_use]
    pub fn new(networks: [&'static str; 2]) -> Self {
        Self { networks, at_once: 1, kept: 1, patience: Duration::from_secs(60) }
    }

    /// So many at once on each node.
    #[must_use]
    pub fn at_once(self, at_once: usize) -> Self {
        Self { at_once, ..self }
    }

    /// A pod is judged again and deleted when so many came after it.
    #[must_use]
    pub fn kept(self, kept: usize) -> Self {
        Self { kept, ..self }
    }

    /// A pod that is not ready after that time counts as one that never was, and one that cannot be looked into for that time as
    /// one that nothing is known of.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// While `during` runs, each node gets pods. Each is judged from inside its own network namespace, when it is ready, and
    /// again later; then it is deleted. At the end all are deleted.
    ///
    /// # Errors
    /// What `during` failed with, or why pods could not be seen.
    pub fn beside<T>(
        &self,
        world: &World,
        during: impl FnOnce(&Churn<'_>) -> Result<T>,
    ) -> Result<(T, Tally)> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let churn = Churn {
            world,
            load: self,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            watch: Watch::start(world)?,
            stop: AtomicBool::new(false),
            going: AtomicUsize::new(0),
            tally: Mutex::default(),
            living: Mutex::default(),
        };
        let done = thread::scope(|scope| {
            for node in world.cluster().nodes() {
                for lane in 0..self.at_once {
                    churn.going.fetch_add(1, Ordering::Relaxed);
                    let churn = &churn;
                    scope.spawn(move || {
                        churn.lane(node, lane);
                        churn.going.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            }
            // Also when it panics: the threads must not go on for ever.
            let _stop = Stop(&churn.stop);
            during(&churn)
        });
        churn.delete_all()?;
        let tally = lock(&churn.tally).clone();
        Ok((done?, tally))
    }
}

/// The pods so far, for whoever works beside them.
#[derive(Debug)]
pub struct Churn<'a> {
    world: &'a World,
    load: &'a Load,
    /// Tells this churn's pods from an earlier one's, whose events may still be there.
    number: usize,
    watch: Watch,
    stop: AtomicBool,
    /// Threads that go on making pods.
    going: AtomicUsize,
    tally: Mutex<Tally>,
    /// Pods that got what they asked for, and were not deleted yet.
    living: Mutex<Vec<Made>>,
}

/// A pod that was made.
#[derive(Debug, Clone)]
struct Made {
    name: String,
    node: String,
    /// How many networks it asked for.
    wanted: usize,
}

impl Churn<'_> {
    /// [`Load::beside`] with one pod at a time on each node.
    ///
    /// # Errors
    /// As there.
    pub fn beside<T>(
        world: &World,
        networks: [&'static str; 2],
        during: impl FnOnce(&Churn<'_>) -> Result<T>,
    ) -> Result<(T, Tally)> {
        Load::new(networks).beside(world, during)
    }

    /// Waits until that many more pods have been judged.
    ///
    /// # Errors
    /// When they are not within minutes.
    pub fn pods(&self, more: usize) -> Result<()> {
        if self.pods_within(more, Duration::from_secs(300)) {
            return Ok(());
        }
        bail!("waited minutes in vain for {more} more pods; so far: {}", lock(&self.tally))
    }

    /// Waits until that many more pods have been judged, but not longer than `limit`; whether they have.
    pub fn pods_within(&self, more: usize, limit: Duration) -> bool {
        let wanted = lock(&self.tally).pods + more;
        wait::until("pods", limit, || (lock(&self.tally).pods >= wanted).then_some(())).is_ok()
    }

    /// Ends the coming and going, and judges those that are left: their interfaces, and their network status, which has `limit` to
    /// become right. Returns what became of the pods until now.
    ///
    /// # Errors
    /// When pods that are being made do not come to an end.
    pub fn settle(&self, limit: Duration) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = || (self.going.load(Ordering::Relaxed) == 0).then_some(());
        wait::until("the last pods to be judged", self.load.patience * 3, ended)?;
        let deadline = Instant::now() + limit;
        for made in lock(&self.living).clone() {
            let Some(interfaces) = self.judge(&made, "at the end") else { continue };
            if let Err(wrong) = self.status_comes_right(&made, &interfaces, deadline) {
                lock(&self.tally).wrong_status.push(format!("{}: {wrong}", made.name));
            }
        }
        Ok(lock(&self.tally).clone())
    }

    /// Deletes pods that were started besides, and counts them among those that were never gone if they do not go now.
    pub fn pods_must_go(&self, pods: &[Pod]) {
        if let Err(error) = self.world.delete(pods) {
            lock(&self.tally).never_gone.push(format!("{error:#}"));
        }
    }

    fn lane(&self, node: &Node, lane: usize) {
        let mut recent = VecDeque::new();
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let wanted = number % 3;
            let name = format!("churn-{}-{}-{lane}-{number}", self.number, node.name());
            let Some(made) = self.make(Made { name, node: node.name().to_owned(), wanted }) else { continue };
            // The first with all networks stays to the end.
            if number != 2 {
                recent.push_back(made);
            }
            if recent.len() > self.load.kept
                && let Some(made) = recent.pop_front()
            {
                lock(&self.living).retain(|living| living.name != made.name);
                self.judge(&made, "later");
                // Not waited for: its end and the next one's start are to meet. One that lacks something stays to be looked at.
                if !lock(&self.tally).names(&made.name) {
                    let _ = self.world.kubectl(&["delete", "pod", &made.name, "--wait=false"]);
                }
            }
        }
    }

    /// Makes a pod and judges it when it is ready; nothing if it lacks anything.
    fn make(&self, made: Made) -> Option<Made> {
        let mut pod = Pod::new(&made.name, &made.node).app("churn");
        if made.wanted > 0 {
            pod = pod.networks(self.load.networks[..made.wanted].join(","));
        }
        let created = Instant::now();
        if let Err(error) = self.world.create(std::slice::from_ref(&pod)) {
            let mut tally = lock(&self.tally);
            tally.pods += 1;
            tally.unknown.push(format!("{}: {error:#}", made.name));
            return None;
        }
        let ready = self.watch.ready(&made.name, created + self.load.patience);
        let events = || self.world.events(&made.name).unwrap_or_default().join("\n    ");
        let never = ready.is_none().then(|| format!("{}; its events:\n    {}", made.name, events()));
        let mut tally = lock(&self.tally);
        tally.pods += 1;
        match ready {
            Some(ready) => tally.times.push(ready.saturating_duration_since(created)),
            None => tally.never_ready.extend(never),
        }
        drop(tally);
        ready?;
        self.judge(&made, "when it was ready")?;
        lock(&self.living).push(made.clone());
        Some(made)
    }

    /// What the pod has; nothing if that is not what it asked for, or nothing is known.
    fn judge(&self, made: &Made, when: &str) -> Option<Interfaces> {
        let name = &made.name;
        let deadline = Instant::now() + self.load.patience;
        let interfaces = loop {
            match self.world.interfaces(name) {
                Ok(interfaces) => break interfaces,
                Err(_) if Instant::now() < deadline => wait::pause(PAUSE),
                Err(error) => {
                    lock(&self.tally).unknown.push(format!("{name} {when}: {error:#}"));
                    return None;
                }
            }
        };
        let missing = (1..=made.wanted).map(|number| format!("net{number}"));
        let missing: Vec<_> = missing.filter(|name| !interfaces.contains_key(name)).collect();
        if missing.is_empty() {
            return Some(interfaces);
        }
        let lacking = Lacking {
            pod: name.clone(),
            node: made.node.clone(),
            what: format!("{when} lacks {}", missing.join(", ")),
            since: self.attached(made, &interfaces),
        };
        lock(&self.tally).without_network.push(lacking);
        None
    }

    /// When the pod got its first address: its lease was written then.
    fn attached(&self, made: &Made, interfaces: &Interfaces) -> Option<SystemTime> {
        let address = interfaces.get("eth0")?.first()?.split('/').next()?;
        let node = self.world.node(&made.node);
        let lease = node.machine().path(&format!("/var/lib/cni/networks/cbr0/{address}"));
        fs::metadata(lease).ok()?.modified().ok()
    }

    fn status_comes_right(
        &self,
        made: &Made,
        interfaces: &Interfaces,
        deadline: Instant,
    ) -> Result<(), String> {
        loop {
            let text = self.watch.status(&made.name).unwrap_or_default();
            match tells(&text, &self.load.networks[..made.wanted], interfaces) {
                Err(wrong) if Instant::now() >= deadline => return Err(wrong),
                Err(_) => wait::pause(PAUSE),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn delete_all(&self) -> Result<()> {
        let mine = "--selector=app=churn";
        let timeout = format!("--timeout={}s", self.load.patience.as_secs() * 2);
        if self.world.kubectl(&["delete", "pod", mine, &timeout]).is_ok() {
            return Ok(());
        }
        let left = self.world.kubectl(&["get", "pod", mine, "--output=name"])?;
        for pod in left.lines() {
            let events = self.world.events(pod.trim_start_matches("pod/")).unwrap_or_default();
            lock(&self.tally).never_gone.push(format!("{pod}; its events:\n    {}", events.join("\n    ")));
        }
        self.world.kubectl(&["delete", "pod", mine, "--force", "--grace-period=0"]).map(drop)
    }
}

/// Whether a network status is what the pod's interfaces say.
fn tells(text: &str, networks: &[&str], interfaces: &Interfaces) -> Result<(), String> {
    let status: Vec<Value> =
        serde_json::from_str(text).map_err(|_| format!("its network status is {text:?}"))?;
    let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
    let names: Vec<_> = status.iter().map(name).collect();
    let mut wanted = vec!["cbr0".to_owned()];
    wanted.extend(networks.iter().map(|network| format!("default/{network}")));
    if names != wanted {
        return Err(format!("its network status names {names:?}"));
    }
    for entry in &status {
        let interface = entry["interface"].as_str().unwrap_or_default();
        let told: Vec<_> = entry["ips"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let has: Vec<_> = interfaces.get(interface).into_iter().flatten().collect();
        let has: Vec<_> = has.iter().filter_map(|address| address.split('/').next()).collect();
        if told != has {
            return Err(format!("its network status gives {interface:?} {told:?}, and it has {has:?}"));
        }
    }
    Ok(())
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = r#"[{"name": "cbr0", "interface": "eth0", "ips": ["10.42.1.2"], "default": true},
        {"name": "default/bridge", "interface": "net1", "ips": ["10.55.0.2"]}]"#;

    fn interfaces(net1: &str) -> Interfaces {
        [("eth0", "10.42.1.2/24"), ("net1", net1)]
            .map(|(name, address)| (name.to_owned(), vec![address.to_owned()]))
            .into()
    }

    #[test]
    fn a_status_is_right_when_it_tells_what_the_pod_has() {
        tells(STATUS, &["bridge"], &interfaces("10.55.0.2/24")).unwrap();
        for (text, networks, net1, wrong) in [
            ("", &["bridge"][..], "10.55.0.2/24", "\"\""),
            (STATUS, &[], "10.55.0.2/24", "names"),
            (STATUS, &["bridge", "second"], "10.55.0.2/24", "names"),
            (STATUS, &["bridge"], "10.55.0.3/24", "10.55.0.3"),
        ] {
            let told = tells(text, networks, &interfaces(net1)).unwrap_err();
            assert!(told.contains(wrong), "{told}");
        }
    }
}
