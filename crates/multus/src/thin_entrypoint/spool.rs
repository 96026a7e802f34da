//! Records that ADDs could not make in time, made here.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use engine::spool;
use kube_cluster::{KubeCluster, Source};

use super::install::Say;

/// One drain's time; the token has to be followed meanwhile.
const LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The spool directory of this node.
pub(crate) struct Spool {
    dir: PathBuf,
    kubeconfig: PathBuf,
    pause: Duration,
    next: Instant,
    /// When something had last come into the directory, or gone from it, as the last drain left it.
    seen: Option<SystemTime>,
}

impl Spool {
    /// Drains `dir` into the cluster of `kubeconfig`.
    pub(crate) fn new(dir: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { dir, kubeconfig, pause: FIRST_PAUSE, next: Instant::now(), seen: None }
    }

    /// Makes what waits. What cannot be made now is tried again, at growing intervals, and keeps nothing that comes later waiting.
    pub(crate) fn drain(&mut self, say: Say<'_>) {
        let is_due = Instant::now() >= self.next || self.changed() != self.seen;
        if !is_due || !self.has_records() {
            return;
        }
        match self.attempt(say) {
            Ok(true) => self.pause = FIRST_PAUSE,
            Ok(false) => {}
            Err(reason) => say(&format!("cannot make the records in {}: {reason}", self.dir.display())),
        }
        self.next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.seen = self.changed();
    }

    fn changed(&self) -> Option<SystemTime> {
        std::fs::metadata(&self.dir).and_then(|metadata| metadata.modified()).ok()
    }

    fn has_records(&self) -> bool {
        std::fs::read_dir(&self.dir).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Whether nothing is left.
    fn attempt(&self, say: Say<'_>) -> Result<bool, String> {
        let cluster = KubeCluster::new(Source::Kubeconfig(self.kubeconfig.clone()))
            .map_err(|error| error.to_string())?;
        let drained =
            spool::drain(&self.dir, &cluster, Instant::now() + LIMIT).map_err(|error| error.to_string())?;
        if drained.done > 0 {
            say(&format!("made {} records that pods waited for", drained.done));
        }
        for (path, reason) in &drained.unreadable {
            say(&format!("removed {}, which is no record: {reason}", path.display()));
        }
        for (path, error) in &drained.unread {
            say(&format!("cannot read {}: {error}", path.display()));
        }
        for (path, error) in &drained.waiting {
            say(&format!("{} stays in the spool: {error}", path.display()));
        }
        Ok(drained.waiting.is_empty() && drained.unread.is_empty())
    }
}
