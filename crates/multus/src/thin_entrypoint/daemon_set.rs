//! The own DaemonSet: whether it still exists and wants this node. Watched all the time, because at the end it may be too late to
//! ask: `helm uninstall` removes the DaemonSet, then the rights to see it, and this process is asked to end about then.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube_cluster::watch::{Event, Watched};
use kube_cluster::{Error, Session};
use node_config::uninstall::{self, DaemonSet, Namespace, Node, Sight, Verdict};

use super::options::Own;

/// How long the last questions may take: the kubelet does not wait for ever.
const LAST_LOOK: Duration = Duration::from_secs(4);

/// The watch.
pub(crate) struct Watcher {
    session: Arc<Session>,
    own: Own,
    told: Arc<Mutex<Told>>,
}

/// What the watch has told.
struct Told {
    sight: Sight,
    /// Whether the list that comes now has it.
    listed: bool,
    /// What has not been said yet.
    lines: Vec<String>,
    /// Why nothing is told now.
    lost: Option<String>,
}

impl Watcher {
    /// Watches from now on.
    pub(crate) fn start(session: Arc<Session>, own: Own) -> Self {
        let told = Arc::new(Mutex::new(Told {
            sight: Sight::Unknown("it has not been seen yet".to_owned()),
            listed: false,
            lines: Vec::new(),
            lost: None,
        }));
        let shown = shown(&own);
        let watched = Watched::object(
            format!("/apis/apps/v1/namespaces/{}/daemonsets", own.namespace),
            shown.clone(),
            &own.name,
        );
        let shared = Arc::clone(&told);
        session.watch(watched, move |event| {
            lock(&shared).take(event, &shown);
            ControlFlow::Continue(())
        });
        Self { session, own, told }
    }

    /// What has changed since it was asked last, for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.told).lines)
    }

    /// Whether what is on the node has to go, now that this process ends.
    pub(crate) fn verdict(&self) -> Verdict {
        let deadline = Instant::now() + LAST_LOOK;
        let asked = self.ask(deadline);
        let node = match asked {
            Sight::Present(_) => self.node(deadline),
            _ => Err("it does not matter".to_owned()),
        };
        uninstall::decide(&lock(&self.told).sight, &asked, &node)
    }

    fn ask(&self, deadline: Instant) -> Sight {
        let Own { namespace, name, .. } = &self.own;
        let path = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}");
        match self.session.get::<DaemonSet>(format!("get {}", shown(&self.own)), path, deadline) {
            Ok(found) => match Sight::from(&found) {
                Sight::Present(_) if self.namespace_goes(deadline) => Sight::NamespaceDeleting,
                sight => sight,
            },
            // It has accepted our token and role, and has none.
            Err(Error::Refused { code: 404, .. }) => Sight::Absent,
            Err(error) => Sight::Unknown(error.to_string()),
        }
    }

    /// Whether the namespace is being deleted. A role that does not tell, or no answer, says nothing.
    fn namespace_goes(&self, deadline: Instant) -> bool {
        let name = &self.own.namespace;
        let got = self.session.get::<Namespace>(
            format!("get namespace {name}"),
            format!("/api/v1/namespaces/{name}"),
            deadline,
        );
        got.is_ok_and(|namespace| namespace.is_being_deleted())
    }

    fn node(&self, deadline: Instant) -> Result<Node, String> {
        let name = &self.own.node;
        let got = self.session.get(format!("get node {name}"), format!("/api/v1/nodes/{name}"), deadline);
        got.map_err(|error| error.to_string())
    }
}

impl Told {
    fn take(&mut self, event: Event<DaemonSet>, shown: &str) {
        match event {
            Event::Listing => self.listed = false,
            Event::Found(daemon_set) => {
                self.listed = true;
                self.see(Sight::from(&daemon_set), shown);
            }
            Event::Gone(_) => self.see(Sight::Absent, shown),
            Event::Complete if !self.listed => self.see(Sight::Absent, shown),
            Event::Complete => {}
            Event::Current => {
                if self.lost.take().is_some() {
                    self.lines.push(format!("{shown} can be watched again"));
                }
            }
            Event::PassedOver(reason) => self.lines.push(format!("watching {shown}: {reason}")),
            // What was seen before stays what was seen.
            Event::Lost(error) => {
                let error = error.to_string();
                if self.lost.as_ref() != Some(&error) {
                    self.lines.push(format!("cannot watch {shown}: {error}"));
                    self.lost = Some(error);
                }
            }
        }
    }

    fn see(&mut self, sight: Sight, shown: &str) {
        let line = match (&self.sight, &sight) {
            (Sight::Deleting, Sight::Deleting) | (Sight::Absent, Sight::Absent) => None,
            (_, Sight::Deleting) => {
                Some(format!("{shown} is being deleted; when this ends, the node is cleaned up"))
            }
            (Sight::Unknown(_), Sight::Absent) => Some(format!(
                "there is no {shown}; if it does not come before this ends, the node is cleaned up then"
            )),
            (_, Sight::Absent) => {
                Some(format!("{shown} has been deleted; when this ends, the node is cleaned up"))
            }
            (Sight::Deleting | Sight::Absent, Sight::Present(_)) => Some(format!("{shown} is there")),
            _ => None,
        };
        self.lines.extend(line);
        self.sight = sight;
    }
}

fn shown(own: &Own) -> String {
    format!("DaemonSet {}/{}", own.namespace, own.name)
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
