//! One fault after the other while pods come and go, and what became of the pods.
//!
//! A [`Scene`] is a cluster with Multus on it; [`Scene::round`] puts one [`Fault`] in and counts. Start reading there, then at
//! [`crate::faults`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use testbed::cluster::{Containerd, Gate, Helm, Node, NodeSpec};
use testbed::wait;

use crate::churn::{Churn, Lacking, Load, Tally};
use crate::faults::Fault;
use crate::install::DAEMON_SET;
use crate::networks::{BRIDGE, SECOND_BRIDGE};
use crate::{Archive, Leftovers, NAMESPACE, World};

/// What pods with both networks ask for.
const NETWORKS: [&str; 2] = ["bridge", "second"];
/// Where Multus, and nobody else, is told to find the API server.
const GATE_OF_MULTUS: u16 = 9443;
/// How long after a configuration was damaged pods may still start without Multus.
const MAY_SLIP: Duration = Duration::from_secs(1);
/// How long the status of the last pods has to become right, and the daemon to report those that slipped through.
const TO_SETTLE: Duration = Duration::from_secs(90);

/// Whose Multus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// Ours.
    Ours,
    /// Upstream's.
    Upstream,
}

impl FromStr for Engine {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ours" => Ok(Self::Ours),
            "upstream" => Ok(Self::Upstream),
            _ => bail!("there is no engine {text:?}; there are ours and upstream"),
        }
    }
}

impl Engine {
    /// The image as chart values, in that mode.
    pub(crate) fn image(self, thick: bool) -> Vec<String> {
        let values = match (self, thick) {
            (Self::Ours, true) => &["image.repository=ghcr.io/multus-rs/multus-rs"][..],
            (Self::Ours, false) => &["image.repository=ghcr.io/multus-rs/multus-rs", "mode=thin"],
            (Self::Upstream, true) => {
                &["image.repository=ghcr.io/k8snetworkplumbingwg/multus-cni", "image.tag=v4.3.0-thick"]
            }
            (Self::Upstream, false) => {
                &["image.repository=ghcr.io/k8snetworkplumbingwg/multus-cni", "image.tag=v4.3.0"]
            }
        };
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    /// The value that names an image that is nowhere.
    pub(crate) fn missing_image(self) -> &'static str {
        match self {
            Self::Ours => "image.tag=v4.99.0",
            Self::Upstream => "image.tag=v4.99.0-thick",
        }
    }

    fn archives(self) -> Vec<Archive> {
        match self {
            Self::Ours => vec![Archive::Ours],
            // Ours has the pods that the chart tests with.
            Self::Upstream => vec![Archive::Ours, Archive::Upstream("v4.3.0")],
        }
    }
}

/// How long what lasts, lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As long as the fault's description says.
    Full,
    /// A third of it, and fewer pods.
    Short,
}

/// A cluster of two nodes with Multus, on which pods come and go.
pub struct Scene {
    /// The cluster.
    pub world: World,
    /// Whose Multus.
    pub engine: Engine,
    /// Between the nodes and the API server, Multus' way left out.
    pub gate_of_nodes: Gate,
    /// Between Multus and the API server.
    pub gate_of_multus: Gate,
    pace: Pace,
    random: Cell<u64>,
    /// When which node's configuration was damaged, in the round that goes on.
    damages: RefCell<Vec<(String, SystemTime)>>,
}

/// What one fault did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The fault's name.
    pub fault: String,
    /// How many pods were made.
    pub pods: usize,
    /// How many were not ready in time.
    pub never_ready: usize,
    /// How many ran without a network that they had asked for, those that [`Row::slipped`] counts left out.
    pub without_network: usize,
    /// How many did so within a second after the configuration was damaged, and were reported.
    pub slipped: usize,
    /// How many had a wrong network status in the end, or none.
    pub wrong_status: usize,
    /// How many could not be deleted, or looked into.
    pub stuck: usize,
    /// How many things were left a minute after the last pod was gone, by kind.
    pub left: BTreeMap<String, usize>,
    /// Whether the configuration of a node had to be put right by hand.
    pub by_hand: bool,
    /// The longest time from a pod's creation until it was ready.
    pub longest: Duration,
    /// What 19 in 20 pods kept.
    pub p95: Duration,
    /// Each thing that went wrong, for people.
    pub details: Vec<String>,
}

impl Row {
    /// Counts another round of the same fault in.
    pub fn add(&mut self, other: &Self) {
        self.pods += other.pods;
        self.never_ready += other.never_ready;
        self.without_network += other.without_network;
        self.slipped += other.slipped;
        self.wrong_status += other.wrong_status;
        self.stuck += other.stuck;
        for (kind, count) in &other.left {
            *self.left.entry(kind.clone()).or_default() += count;
        }
        self.by_hand |= other.by_hand;
        self.longest = self.longest.max(other.longest);
        self.p95 = self.p95.max(other.p95);
        self.details.extend(other.details.iter().cloned());
    }

    /// Whether nothing went wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let bad = [self.never_ready, self.without_network, self.wrong_status, self.stuck];
        self.pods > 0 && bad == [0; 4] && self.left.is_empty() && !self.by_hand
    }
}

impl Scene {
    /// Brings a cluster up and installs Multus in thick mode by the chart. `seed` chooses nodes and moments.
    ///
    /// # Errors
    /// When it cannot be installed.
    ///
    /// # Panics
    /// As [`World::up`].
    pub fn up(name: &str, engine: Engine, pace: Pace, seed: u64) -> Result<Self> {
        let world = World::up(name, |spec| {
            spec.node(NodeSpec::new("node1")).node(NodeSpec::new("node2").containerd(Containerd::V2))
        });
        world.load(&engine.archives())?;
        let gate_of_nodes = world.cluster().gate_of_nodes()?;
        let gate_of_multus = world.cluster().gate(GATE_OF_MULTUS)?;
        let scene = Self {
            world,
            engine,
            gate_of_nodes,
            gate_of_multus,
            pace,
            // Zero would stay zero.
            random: Cell::new(seed.wrapping_mul(2).wrapping_add(1)),
            damages: RefCell::default(),
        };
        let values = scene.values(&[]);
        scene.world.install(Helm::V4, &values.iter().map(String::as_str).collect::<Vec<_>>())?;
        scene.configured()?;
        scene.world.apply(&format!("{BRIDGE}---{SECOND_BRIDGE}"))?;
        Ok(scene)
    }

    /// Returns when each node has Multus' configuration: upstream's DaemonSet is rolled out before.
    fn configured(&self) -> Result<()> {
        self.nodes().iter().try_for_each(|node| {
            let what = format!("the configuration of {}", node.name());
            wait::until(&what, Duration::from_secs(60), || self.conf(node).map(drop))
        })
    }

    /// Helm's arguments for the install as it is, and `more` values.
    #[must_use]
    pub fn values(&self, more: &[&str]) -> Vec<String> {
        let mut values = self.engine.image(true);
        values.push(format!("apiServer.host={}", self.world.cluster().address()));
        values.push(format!("apiServer.port={GATE_OF_MULTUS}"));
        values.extend(more.iter().map(|value| (*value).to_owned()));
        values.into_iter().flat_map(|value| ["--set".to_owned(), value]).collect()
    }

    /// Upgrades to other values, and waits until that runs everywhere.
    ///
    /// # Errors
    /// When Helm does not succeed, or the DaemonSet is not rolled out.
    pub fn upgrade(&self, more: &[&str]) -> Result<()> {
        let values = self.values(more);
        self.world.upgrade(Helm::V4, &values.iter().map(String::as_str).collect::<Vec<_>>()).map(drop)
    }

    /// Goes back to the revision before, and waits until that runs everywhere.
    ///
    /// # Errors
    /// As [`Scene::upgrade`].
    pub fn roll_back(&self) -> Result<()> {
        self.world.helm(Helm::V4, &["rollback", "multus", "--namespace", NAMESPACE])?;
        self.world.rollout(DAEMON_SET)
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        self.world.cluster().nodes()
    }

    /// A number below `below`, another one each time.
    #[must_use]
    pub fn random(&self, below: usize) -> usize {
        // xorshift64: the same seed gives the same course.
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        usize::try_from(random >> 33).unwrap_or_default() % below.max(1)
    }

    /// Lets some pods come and go, fewer where the pace is short; goes on without them where they do not come.
    pub fn some_pods(&self, churn: &Churn<'_>, pods: usize) {
        let pods = if self.pace == Pace::Full { pods } else { pods.div_ceil(3) };
        let _ = churn.pods_within(pods, Duration::from_secs(90));
    }

    /// Lets the fault last.
    pub fn last(&self, duration: Duration) {
        wait::pause(if self.pace == Pace::Full { duration } else { duration / 3 });
    }

    /// Notes that the configuration of a node is being damaged now.
    pub fn damages(&self, node: &Node) {
        self.damages.borrow_mut().push((node.name().to_owned(), SystemTime::now()));
    }

    /// The configuration that makes the runtime of a node call Multus, if there is one. Its extension follows the primary's kind.
    #[must_use]
    pub fn conf(&self, node: &Node) -> Option<String> {
        let paths =
            ["00-multus.conf", "00-multus.conflist"].map(|name| format!("{}/{name}", node.conf_dir()));
        paths.into_iter().find(|path| node.machine().path(path).is_file())
    }

    /// Puts the fault in while pods come and go, and counts.
    ///
    /// # Errors
    /// When the fault cannot be put in or be undone; what pods suffer is counted, and no error.
    pub fn round(&self, fault: &Fault) -> Result<Row> {
        let context = || format!("the fault {:?}", fault.name);
        self.damages.borrow_mut().clear();
        (fault.prepare)(self).with_context(context)?;
        let before: Vec<_> = self.nodes().iter().map(|node| self.conf_now(node)).collect();
        let load = Load::new(NETWORKS).at_once(2).kept(3).patience(fault.patience);
        let (reports, tally) = load
            .beside(&self.world, |churn| {
                self.some_pods(churn, 10);
                (fault.put_in)(self, churn)?;
                self.some_pods(churn, 10);
                let tally = churn.settle(TO_SETTLE)?;
                self.reports(&tally)
            })
            .with_context(context)?;
        let left = Leftovers::wait(self.nodes());
        let mut row = self.row(fault, &tally, &reports, &left);
        left.remove(self.nodes())?;
        (fault.undo)(self).with_context(context)?;
        for (node, before) in self.nodes().iter().zip(before) {
            let same = || (self.conf_now(node) == before).then_some(());
            if wait::until("the configuration to be what it was", MAY_SLIP * 10, same).is_err() {
                row.by_hand = true;
                row.details.push(format!("the configuration of {} is not what it was", node.name()));
            }
        }
        if row.by_hand {
            self.put_right()?;
        }
        Ok(row)
    }

    fn conf_now(&self, node: &Node) -> Option<Vec<u8>> {
        fs::read(node.machine().path(&self.conf(node)?)).ok()
    }

    /// As an administrator would: by new pods of the DaemonSet.
    fn put_right(&self) -> Result<()> {
        for node in self.nodes() {
            node.machine().run("sh", &["-c", "rm -f \"$0\"/00-multus.conf*.cilium_bak", node.conf_dir()])?;
        }
        self.world.kubectl(&["-n", NAMESPACE, "rollout", "restart", &format!("daemonset/{DAEMON_SET}")])?;
        self.world.rollout(DAEMON_SET)?;
        self.configured()
    }

    /// Whether it may run without its networks, if that is reported.
    fn may_lack(&self, lacking: &Lacking) -> bool {
        let damages = self.damages.borrow();
        let soon = |damaged: SystemTime| {
            let since = lacking.since.and_then(|since| since.duration_since(damaged).ok());
            since.is_some_and(|since| since <= MAY_SLIP)
        };
        damages.iter().any(|(node, damaged)| *node == lacking.node && soon(*damaged))
    }

    /// Those of the pods without their networks that are reported, waited for as long as they have to be.
    fn reports(&self, tally: &Tally) -> Result<BTreeSet<String>> {
        let mut wanted: BTreeSet<_> =
            tally.without_network.iter().map(|lacking| lacking.pod.clone()).collect();
        if self.engine == Engine::Upstream {
            // It has no such reports.
            return Ok(BTreeSet::new());
        }
        let mut reported = BTreeSet::new();
        let _ = wait::until("reports", TO_SETTLE, || {
            wanted.retain(|pod| !self.is_reported(pod) || !reported.insert(pod.clone()));
            wanted.is_empty().then_some(())
        });
        Ok(reported)
    }

    fn is_reported(&self, pod: &str) -> bool {
        let events = self.world.events(pod).unwrap_or_default();
        events.iter().any(|event| event.starts_with("NetworksMissing"))
    }

    fn row(&self, fault: &Fault, tally: &Tally, reports: &BTreeSet<String>, left: &Leftovers) -> Row {
        let (slipped, lacking): (Vec<_>, Vec<_>) = tally
            .without_network
            .iter()
            .partition(|lacking| self.may_lack(lacking) && reports.contains(&lacking.pod));
        let mut details: Vec<_> = lacking
            .iter()
            .map(|lacking| {
                let reported = if reports.contains(&lacking.pod) { "reported" } else { "not reported" };
                format!("{lacking} ({reported}; {})", self.after_damage(lacking))
            })
            .collect();
        let lists = [&tally.never_ready, &tally.unknown, &tally.wrong_status, &tally.never_gone];
        details.extend(lists.into_iter().flatten().cloned());
        if !left.is_none() {
            details.push(format!("left: {}", left.to_string().trim_end()));
        }
        Row {
            fault: fault.name.to_owned(),
            pods: tally.pods,
            never_ready: tally.never_ready.len(),
            without_network: lacking.len(),
            slipped: slipped.len(),
            wrong_status: tally.wrong_status.len(),
            stuck: tally.never_gone.len() + tally.unknown.len(),
            left: left.counts(),
            by_hand: false,
            longest: tally.time(1),
            p95: tally.time(20),
            details,
        }
    }

    fn after_damage(&self, lacking: &Lacking) -> String {
        let damages = self.damages.borrow();
        let Some(since) = lacking.since else { return "attached at a time that is not known".to_owned() };
        let mine = damages.iter().filter(|(node, _)| *node == lacking.node);
        match mine.filter_map(|(_, damaged)| since.duration_since(*damaged).ok()).min() {
            Some(after) => format!("attached {after:?} after the configuration was damaged"),
            None => "attached before any damage".to_owned(),
        }
    }
}
