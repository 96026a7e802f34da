//! ADD while every answer of the API server comes five seconds late.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use testbed::cluster::Passage;

use super::install;
use super::scene::{Scene, Side};

/// How late.
pub(super) const LATE: Duration = Duration::from_secs(5);
pub(super) const COUNTS: [usize; 2] = [0, 1];
/// Of the way that can be made slow.
const PORT: u16 = 8444;

/// How long one ADD takes, and what it failed with, if it did.
pub(super) type Slow = BTreeMap<(Side, usize), (Duration, Option<String>)>;

pub(super) fn measure(scene: &mut Scene) -> Result<Slow> {
    let gate = scene.cluster().gate(PORT)?;
    install::lead(scene, scene.cluster().address(), PORT)?;
    let mut slow = Slow::new();
    for side in Side::MULTUS {
        for count in COUNTS {
            let held = scene.held(side, count)?;
            let add = scene.call(side, "ADD", &held)?;
            let delete = scene.call(side, "DEL", &held)?;
            let agent = scene.agent(side)?;
            gate.set(Passage::Slow(LATE));
            let start = Instant::now();
            let called = agent.call(&add);
            let took = start.elapsed();
            gate.set(Passage::Open);
            agent.call(&delete)?;
            slow.insert((side, count), (took, called.err().map(|error| format!("{error:#}"))));
        }
    }
    Ok(slow)
}
