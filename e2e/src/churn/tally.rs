//! What became of pods.

use std::fmt;
use std::time::{Duration, SystemTime};

/// What became of the pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were judged.
    pub pods: usize,
    /// Those that were not ready in time, with their events.
    pub never_ready: Vec<String>,
    /// Those that ran without an interface that they had asked for.
    pub without_network: Vec<Lacking>,
    /// Those that nothing could be found out about.
    pub unknown: Vec<String>,
    /// Those whose network status was not right in the end; only [`crate::Churn::settle`] looks.
    pub wrong_status: Vec<String>,
    /// Those that could not be deleted, with their events.
    pub never_gone: Vec<String>,
    /// How long each took from its creation until it was ready.
    pub times: Vec<Duration>,
}

/// A pod without an interface that it had asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The pod.
    pub pod: String,
    /// Its node.
    pub node: String,
    /// When, and what it lacks.
    pub what: String,
    /// When the default network was attached, if that is known.
    pub since: Option<SystemTime>,
}

impl fmt::Display for Lacking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.pod, self.what)
    }
}

impl Tally {
    /// Whether all pods got what they asked for, and there were pods.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let without: Vec<_> = self.without_network.iter().map(ToString::to_string).collect();
        let bad = [&self.never_ready, &without, &self.unknown, &self.wrong_status, &self.never_gone];
        self.pods > 0 && bad.into_iter().all(Vec::is_empty)
    }

    /// Whether something is said about that pod.
    pub(super) fn names(&self, pod: &str) -> bool {
        self.without_network.iter().any(|lacking| lacking.pod == pod)
    }

    /// What all but one in `one_in` pods that became ready did not exceed; with 1 the longest.
    #[must_use]
    pub fn time(&self, one_in: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let above = if one_in > 1 { times.len() / one_in } else { 0 };
        times.len().checked_sub(above + 1).map_or(Duration::ZERO, |index| times[index])
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pods, never_ready, without_network, unknown, wrong_status, never_gone, .. } = self;
        write!(
            formatter,
            "{pods} pods: {} never ready, {} without a network that they asked for, {} unknown, {} with a wrong status, {} \
             never gone",
            never_ready.len(),
            without_network.len(),
            unknown.len(),
            wrong_status.len(),
            never_gone.len()
        )?;
        for line in never_ready.iter().chain(unknown).chain(wrong_status).chain(never_gone) {
            write!(formatter, "\n  {line}")?;
        }
        without_network.iter().try_for_each(|line| write!(formatter, "\n  {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_and_the_one_that_nineteen_in_twenty_keep() {
        let times = |count: u64| Tally {
            times: (1..=count).rev().map(Duration::from_secs).collect(),
            ..Tally::default()
        };
        assert_eq!(times(40).time(1), Duration::from_secs(40));
        assert_eq!(times(40).time(20), Duration::from_secs(38));
        assert_eq!(times(1).time(20), Duration::from_secs(1));
        assert_eq!(times(0).time(1), Duration::ZERO);
    }
}
