//! One `kubectl get --watch` for all pods: what the API server tells of them, when it tells it.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use testbed::wait;

use crate::World;

/// The pods, as they are told of.
#[derive(Debug)]
pub(super) struct Watch {
    kubectl: Child,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    pods: Mutex<BTreeMap<String, Told>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Told {
    /// When it was ready for the first time.
    ready: Option<Instant>,
    /// Its network status.
    status: Option<String>,
}

impl Watch {
    pub(super) fn start(world: &World) -> Result<Self> {
        let mut kubectl = world
            .cluster()
            .kubectl()
            .args(["get", "pods", "--selector=app=churn", "--watch", "--output=json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start kubectl")?;
        let told = kubectl.stdout.take().context("kubectl has no output")?;
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        thread::spawn(move || shared.follow(told));
        Ok(Self { kubectl, seen })
    }

    /// When that pod became ready; nothing if it did not before `deadline`.
    pub(super) fn ready(&self, pod: &str, deadline: Instant) -> Option<Instant> {
        let mut pods = self.seen.pods();
        loop {
            if let Some(ready) = pods.get(pod).and_then(|told| told.ready) {
                return Some(ready);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.seen.changed.wait_timeout(pods, left);
            pods = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The network status of that pod.
    pub(super) fn status(&self, pod: &str) -> Option<String> {
        self.seen.pods().get(pod)?.status.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = wait::until("the end of kubectl", Duration::from_secs(10), || {
            self.kubectl.try_wait().ok().flatten()
        });
    }
}

impl Seen {
    fn pods(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until kubectl ends.
    fn follow(&self, told: ChildStdout) {
        let objects = serde_json::Deserializer::from_reader(BufReader::new(told)).into_iter::<Value>();
        for pod in objects.map_while(Result::ok) {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let status = pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"].as_str();
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let ready =
                conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            let mut pods = self.pods();
            let told = pods.entry(name).or_default();
            told.status = status.map(str::to_owned);
            if ready {
                told.ready.get_or_insert_with(Instant::now);
            }
            drop(pods);
            self.changed.notify_all();
        }
    }
}
