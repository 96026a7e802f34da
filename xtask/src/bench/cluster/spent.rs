//! Where the computer's CPU time goes while pods start: a cluster on one computer shares its processors with all that a pod needs, so
//! what one part of it uses the others wait for.

use std::fs;
use std::ops::Sub;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::scene::until;
use super::weigh;

const CONTROL_PLANE: [&str; 4] = ["kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler"];
const NODES: [&str; 2] = ["kubelet", "containerd"];

/// CPU time since the computer started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    /// Of everything.
    pub(super) all: Duration,
    /// The API server, etcd and what works on the objects.
    pub(super) control_plane: Duration,
    /// Kubelets and container runtimes, without what they start.
    pub(super) nodes: Duration,
}

impl Spent {
    pub(super) fn now() -> Result<Self> {
        let mut spent = Self { all: busy()?.0, ..Self::default() };
        for process in weigh::processes() {
            let words = weigh::words(&process);
            let Some(name) = words.first().and_then(|word| Path::new(word).file_name()) else { continue };
            let part = if CONTROL_PLANE.iter().any(|program| name == *program) {
                &mut spent.control_plane
            } else if NODES.iter().any(|program| name == *program) {
                &mut spent.nodes
            } else {
                continue;
            };
            *part += weigh::alone(&process).unwrap_or_default();
        }
        Ok(spent)
    }
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            all: self.all.saturating_sub(earlier.all),
            control_plane: self.control_plane.saturating_sub(earlier.control_plane),
            nodes: self.nodes.saturating_sub(earlier.nodes),
        }
    }
}

/// Waits until the computer has little to do, so that what one call left to others is not in the time of the next.
pub(super) fn rest() -> Result<()> {
    const LOOK: Duration = Duration::from_millis(40);
    let mut last = busy()?;
    until("a computer at rest", || {
        testbed::wait::pause(LOOK);
        let now = busy()?;
        let (busy, idle) = (now.0.saturating_sub(last.0), now.1.saturating_sub(last.1));
        last = now;
        Ok((busy * 4 < idle).then_some(()))
    })
}

/// For how long the processors have been at work, and for how long idle, all together, in hundredths of a second.
fn busy() -> Result<(Duration, Duration)> {
    let text = fs::read_to_string("/proc/stat").context("read how busy the computer is")?;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu "));
    let ticks: Vec<u64> =
        line.context("understand /proc/stat")?.split_whitespace().flat_map(str::parse).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in the first two.
    let sum = |columns: &[usize]| columns.iter().filter_map(|&column| ticks.get(column)).sum::<u64>();
    Ok((weigh::of_ticks(sum(&[0, 1, 2, 5, 6])), weigh::of_ticks(sum(&[3, 4]))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_computer_works_and_rests() {
        let before = busy().unwrap();
        testbed::wait::until("a tick of the clock", Duration::from_secs(10), || {
            let now = busy().unwrap();
            (now.0 + now.1 > before.0 + before.1).then_some(())
        })
        .unwrap();
        let spent = Spent::now().unwrap();
        assert!(spent.all >= before.0 && spent - spent == Spent::default());
    }
}
