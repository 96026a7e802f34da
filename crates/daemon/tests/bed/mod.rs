//! A daemon's cluster side over an API server of the test's own.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared by tests that need parts of it; a test fails by panicking"
)]

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use daemon::{Backend, EventMode, Kube, Options, STALENESS_BOUND};
use engine::{Level, Log, PodRef, Query, Record};
use kube_cluster::{Api, Kubelet, Source};
use plan::{EventKind, NadRef, PlanEvent, STATUS_ANNOTATION};
use testbed::apiserver::FakeApi;
use tokio::runtime::Handle;

pub(crate) struct Bed {
    pub(crate) kube: Kube,
    pub(crate) api: FakeApi,
    pub(crate) log: Arc<Lines>,
    pub(crate) spool: PathBuf,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) runtime: Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    driver: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<String>>);

impl Log for Lines {
    fn line(&self, _: Level, text: fmt::Arguments<'_>) {
        self.0.lock().unwrap().push(text.to_string());
    }
}

impl Lines {
    pub(crate) fn has(&self, part: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(part))
    }
}

pub(crate) fn start(api: FakeApi, change: impl FnOnce(&mut Options)) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::Kubeconfig(api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap());
    let spool = dir.path().join("spool");
    let mut options = Options {
        node: Some("n1".to_owned()),
        spool: spool.clone(),
        events: EventMode::Each,
        staleness_bound: STALENESS_BOUND,
        kubelet: Kubelet {
            socket: dir.path().join("kubelet.sock"),
            checkpoint: dir.path().join("checkpoint"),
        },
    };
    change(&mut options);
    let log = Arc::new(Lines::default());
    let owned = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runtime = owned.handle().clone();
    let kube = {
        let _inside = runtime.enter();
        Kube::start(Api::new(source).unwrap(), options, Arc::clone(&log) as _)
    };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let driver = Some(std::thread::spawn(move || drop(owned.block_on(stopped))));
    Bed { kube, api, log, spool, dir, runtime, stop: Some(stop), driver }
}

/// One whose caches have been filled.
pub(crate) fn ready(api: FakeApi) -> Bed {
    let bed = start(api, |_| {});
    bed.until_ready();
    bed
}

pub(crate) fn until(what: &str, look: impl FnMut() -> bool) {
    let mut look = look;
    testbed::wait::until(what, Duration::from_secs(30), || look().then_some(())).unwrap();
}

pub(crate) fn until_some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    testbed::wait::until(what, Duration::from_secs(30), look).unwrap()
}

pub(crate) fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

pub(crate) fn pod(name: &str, uid: &str) -> PodRef {
    PodRef { namespace: "a".to_owned(), name: name.to_owned(), uid: Some(uid.to_owned()) }
}

pub(crate) fn query(pod: Option<PodRef>, nads: &[&str], seconds: u64) -> Query {
    Query { pod, nads: nads.iter().map(|name| NadRef::new("a", *name)).collect(), deadline: soon(seconds) }
}

pub(crate) fn record(pod: PodRef, status: &str) -> Record {
    let event = PlanEvent {
        kind: EventKind::Normal,
        reason: "AddedInterface".to_owned(),
        message: format!("Add eth0 for {status}"),
    };
    Record { pod, status: Some(status.to_owned()), events: vec![event] }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop = None;
        self.driver.take().unwrap().join().unwrap();
    }
}

impl Bed {
    pub(crate) fn until_ready(&self) {
        until("the caches", || {
            self.kube.ready().is_ok() && self.metric("multus_cache_age_seconds{object=\"pod\"}") == 0.0
        });
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        self.kube.metrics(&mut text);
        text
    }

    /// The value of a metric, labels included in its name.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn status(&self, name: &str) -> Option<String> {
        self.api.annotation("a", name, STATUS_ANNOTATION)
    }

    /// Requests but those of the caches.
    pub(crate) fn asked(&self) -> Vec<String> {
        let all = self.api.requests();
        let own = all
            .iter()
            .filter(|request| !request.query.contains("watch=") && !request.query.contains("limit="));
        own.map(|request| format!("{} {}", request.method, request.path)).collect()
    }
}
