//! Ten pods created at once, run by the real kubelet and container runtime: how long until all are there, what the daemon needs for
//! them, and what it asks the API server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::scene::{Scene, Side, pod, settled, until};
use super::series::Series;
use super::spent::Spent;
use super::{audit, spent, weigh};

/// How many pods at once.
const PODS: usize = 10;
/// How the pods' program is told from all others.
const MARK: &str = "86399";
/// Who, with how many networks. Without Multus a pod's selection means nothing.
const KINDS: [(Side, usize); 5] =
    [(Side::Plain, 0), (Side::Ours, 0), (Side::Upstream, 0), (Side::Ours, 1), (Side::Upstream, 1)];

/// What was measured of one kind of burst.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// Pods a minute, until the program of the last one ran.
    pub(super) running: Series,
    /// The same, until the API server knew that all were ready.
    pub(super) ready: Series,
    /// What the daemon used for all pods, from their creation to their end, and what it started.
    cpu: Duration,
    /// Of the whole computer for all pods, from their creation until all were ready.
    spent: Vec<Spent>,
    /// Requests of the daemon for all pods.
    pub(super) requests: BTreeMap<String, usize>,
    /// Pods in all.
    pub(super) pods: usize,
    /// Leases that they left.
    pub(super) leases: usize,
}

impl Burst {
    /// Requests for each pod whose verb and resource begin so.
    pub(super) fn requests_with(&self, beginnings: &[&str]) -> f64 {
        let matching = |request: &str| beginnings.iter().any(|beginning| request.starts_with(beginning));
        let requests = self.requests.iter().filter(|(request, _)| matching(request));
        self.each(requests.map(|(_, number)| number).sum())
    }

    pub(super) fn leases_each(&self) -> f64 {
        self.each(self.leases)
    }

    /// Milliseconds of the daemon's CPU for each pod, mean.
    pub(super) fn cpu_each(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let pods = self.pods as f64;
        self.cpu.as_secs_f64() * 1000.0 / pods
    }

    /// Milliseconds of a part of the computer's CPU time for each pod until all were ready, mean.
    pub(super) fn spent_each(&self, part: impl Fn(&Spent) -> Duration) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let pods = self.pods as f64;
        self.spent.iter().map(part).sum::<Duration>().as_secs_f64() * 1000.0 / pods
    }

    /// For each pod.
    pub(super) fn each(&self, number: usize) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let each = number as f64 / self.pods as f64;
        each
    }
}

#[derive(Debug, Default)]
pub(super) struct Bursts(BTreeMap<(Side, usize), Burst>);

impl Bursts {
    pub(super) fn of(&self, side: Side, count: usize) -> &Burst {
        &self.0[&(side, count)]
    }

    /// Without Multus a pod with networks is a pod.
    pub(super) fn plain(&self) -> &Burst {
        self.of(Side::Plain, 0)
    }
}

pub(super) fn measure(scene: &mut Scene, rounds: usize) -> Result<Bursts> {
    let mut bursts = Bursts::default();
    for round in 0..rounds {
        for index in 0..KINDS.len() {
            let (side, count) = KINDS[(round + index) % KINDS.len()];
            let burst = bursts.0.entry((side, count)).or_default();
            one(scene, side, count, burst).with_context(|| {
                format!("{PODS} pods with {count} networks at once on the node {}", side.name())
            })?;
        }
    }
    Ok(bursts)
}

fn one(scene: &mut Scene, side: Side, count: usize, burst: &mut Burst) -> Result<()> {
    let names: Vec<_> = (0..PODS).map(|number| format!("burst-{number}")).collect();
    let pods: Vec<_> = names.iter().map(|name| pod(name, side, count, &["sleep", MARK])).collect();
    let names: Vec<_> = names.iter().map(|name| format!("pod/{name}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let daemon = side != Side::Plain;
    let before = if daemon { scene.agent(side)?.daemon()?.own } else { Duration::ZERO };
    let asked = audit::mark(scene.cluster());

    spent::rest()?;
    let spent = Spent::now()?;
    let (start, began) = (Instant::now(), weigh::now()?);
    scene.create(&pods)?;
    scene.kubectl(&[&["wait", "--for=condition=Ready", "--timeout=120s"], names.as_slice()].concat(), "")?;
    burst.ready.push(per_minute(start.elapsed()));
    burst.spent.push(Spent::now()? - spent);
    let started = scene.agent(side)?.started(MARK)?;
    ensure!(started.len() == PODS, "{} programs of {PODS} pods run", started.len());
    let last = started.into_iter().max().unwrap_or_default();
    burst.running.push(per_minute(last.saturating_sub(began)));

    scene.kubectl(&[&["delete", "--timeout=120s"], names.as_slice()].concat(), "")?;
    let agent = scene.agent(side)?;
    until("the end of the pods' sandboxes", || Ok((agent.veths()? == 0).then_some(())))?;
    if daemon {
        let node = scene.node(side)?.address();
        let cluster = scene.cluster();
        settled("the daemon's last request", || Ok(audit::mark(cluster)))?;
        audit::count(cluster, asked, &node, &mut burst.requests)?;
        burst.cpu += scene.agent(side)?.daemon()?.own.saturating_sub(before);
    }
    burst.pods += PODS;
    burst.leases += scene.drop_leases(side)?;
    Ok(())
}

fn per_minute(took: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let pods = PODS as f64;
    pods * 60.0 / took.as_secs_f64()
}
