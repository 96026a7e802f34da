//! What the daemons hold: idle, with as many pods as a node can have, and started anew among ten thousand networks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::install;
use super::scene::{Scene, Side, network_attachment_definition, settled, until};
use super::weigh::Weight;

/// All that a kubelet here takes.
const PODS: usize = 250;
const NETWORKS: usize = 10_000;
const REST: Duration = Duration::from_secs(30);
/// kubectl creates objects one after another.
const CREATORS: usize = 4;

/// Of ours and of upstream's daemon.
pub(super) type Pair = [Weight; 2];

pub(super) fn now(scene: &mut Scene) -> Result<Pair> {
    let mut pair = Pair::default();
    for (side, weight) in Side::MULTUS.into_iter().zip(&mut pair) {
        *weight = scene.agent(side)?.daemon()?;
    }
    Ok(pair)
}

/// When what they do of their own accord is done.
pub(super) fn at_rest(scene: &mut Scene) -> Result<Pair> {
    for side in Side::MULTUS {
        // A tick of a daemon at rest costs less.
        let rest = || Ok(scene.agent(side)?.daemon()?.cpu.as_millis() / 50);
        settled("a daemon at rest", rest)?;
    }
    now(scene)
}

/// What the control groups use while something else is done for which no daemon is needed, in milliseconds a minute; for half a
/// minute at least, so that there are probes in it.
pub(super) fn resting<T>(scene: &mut Scene, meanwhile: impl FnOnce() -> Result<T>) -> Result<([f64; 2], T)> {
    let before = at_rest(scene)?;
    let start = Instant::now();
    let done = meanwhile()?;
    until("half a minute to be over", || Ok((start.elapsed() >= REST).then_some(())))?;
    let after = now(scene)?;
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let used =
        |index: usize| after[index].cpu.saturating_sub(before[index].cpu).as_secs_f64() * 1000.0 / minutes;
    Ok(([used(0), used(1)], done))
}

/// With as many pods on each node as a kubelet takes, all attached to one network.
pub(super) fn with_pods(scene: &mut Scene) -> Result<Pair> {
    for side in Side::MULTUS {
        let there = scene.kubectl(
            &[
                "get",
                "pods",
                "--all-namespaces",
                &format!("--field-selector=spec.nodeName={}", side.name()),
                "--output=name",
            ],
            "",
        )?;
        let there = there.lines().count();
        let pods: Vec<_> =
            (there..PODS).map(|number| (format!("many-{}-{number}", side.name()), 1)).collect();
        let held = scene.hold(side, &pods)?;
        for held in held {
            let call = scene.call(side, "ADD", &held)?;
            scene.agent(side)?.call(&call)?;
        }
    }
    at_rest(scene)
}

/// Started anew among many networks that no pod selects.
pub(super) fn among_networks(scene: &mut Scene) -> Result<Pair> {
    let config = json!({"cniVersion": "1.0.0", "type": "macvlan", "master": "eth0", "mode": "bridge",
        "ipam": {"type": "static", "addresses": [{"address": "10.1.2.3/24"}]}});
    let shared = &*scene;
    std::thread::scope(|scope| {
        let creators: Vec<_> = (0..CREATORS)
            .map(|creator| {
                let config = &config;
                scope.spawn(move || {
                    let numbers = (0..NETWORKS).filter(|number| number % CREATORS == creator);
                    let objects: Vec<_> = numbers
                        .map(|number| network_attachment_definition(&format!("many-{number}"), config))
                        .collect();
                    shared.create(&objects)
                })
            })
            .collect();
        creators.into_iter().try_for_each(|creator| match creator.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
    .context("create networks")?;
    let before = now(scene)?;
    install::restart(scene)?;
    for (side, before) in Side::MULTUS.into_iter().zip(before) {
        until("a new daemon", || Ok((scene.agent(side)?.daemon()?.pid != before.pid).then_some(())))?;
    }
    at_rest(scene)
}
