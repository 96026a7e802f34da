//! ADD and DEL: what Multus adds to the delegates' own time. The delegates alone are called in the same rounds, on the node without
//! Multus, as the engine calls them; the differences are taken round by round, so that what else the computer does hits both alike.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::scene::{COUNTS, Held, Scene, Side};
use super::series::Series;
use super::{audit, spent};

const VERBS: [&str; 2] = ["ADD", "DEL"];

/// By side, verb and number of networks.
#[derive(Debug, Default)]
pub(super) struct Calls {
    walls: BTreeMap<(Side, &'static str, usize), Series>,
    /// Of an ADD, by side and number of networks: how long the API server worked on what the daemon asked meanwhile.
    waits: BTreeMap<(Side, usize), Series>,
}

impl Calls {
    pub(super) fn wall(&self, side: Side, verb: &'static str, count: usize) -> &Series {
        &self.walls[&(side, verb, count)]
    }

    /// How long the API server worked on what was asked during an ADD.
    pub(super) fn waited(&self, side: Side, count: usize) -> &Series {
        &self.waits[&(side, count)]
    }

    /// What that side takes beyond the delegates alone, round by round.
    pub(super) fn beyond(&self, side: Side, verb: &'static str, count: usize) -> Series {
        self.wall(side, verb, count).minus(self.wall(Side::Plain, verb, count))
    }
}

pub(super) fn measure(scene: &mut Scene, rounds: usize) -> Result<Calls> {
    let mut calls = Calls::default();
    for side in Side::ALL {
        // Once unmeasured: bridges are made, files come into the cache.
        turn(scene, side, COUNTS[COUNTS.len() - 1])?;
        scene.drop_leases(side)?;
    }
    for round in 0..rounds {
        for count in COUNTS {
            for index in 0..Side::ALL.len() {
                let side = Side::ALL[(round + index) % Side::ALL.len()];
                let turn = turn(scene, side, count).with_context(|| {
                    format!("pod with {count} networks on the node {}, round {}", side.name(), round + 1)
                })?;
                for (verb, wall) in VERBS.into_iter().zip(turn.walls) {
                    calls.walls.entry((side, verb, count)).or_default().add(wall);
                }
                calls.waits.entry((side, count)).or_default().add(turn.waited);
                // Upstream leaves one each time, and the node would run out of addresses.
                scene.drop_leases(side)?;
            }
        }
    }
    Ok(calls)
}

/// One ADD and one DEL.
#[derive(Debug, Default)]
struct Turn {
    walls: [Duration; 2],
    /// In the ADD, by the API server.
    waited: Duration,
}

/// One ADD and one DEL of one side, each when the computer is at rest.
fn turn(scene: &mut Scene, side: Side, count: usize) -> Result<Turn> {
    let held = scene.held(side, count)?;
    if side == Side::Plain {
        return Ok(Turn { walls: delegates_alone(scene, side, &held)?, ..Turn::default() });
    }
    let mut turn = Turn::default();
    let node = scene.node(side)?.address();
    for (verb, wall) in VERBS.into_iter().zip(&mut turn.walls) {
        let call = scene.call(side, verb, &held)?;
        spent::rest()?;
        let mark = audit::mark(scene.cluster());
        let called = scene.agent(side)?.call(&call)?;
        *wall = called.wall;
        if verb == "ADD" {
            spent::rest()?;
            turn.waited = audit::waited(scene.cluster(), mark, &node, called.ended)?;
        }
    }
    Ok(turn)
}

/// Each delegate called directly, one after another.
fn delegates_alone(scene: &mut Scene, side: Side, held: &Held) -> Result<[Duration; 2]> {
    let mut calls = scene.delegates(side, held)?;
    let agent = scene.agent(side)?;
    let mut walls = [Duration::ZERO; 2];
    let mut results: Vec<Value> = Vec::new();
    spent::rest()?;
    for (call, config, follows) in &mut calls {
        if *follows {
            config["prevResult"] = results.last().cloned().unwrap_or_default();
            call.stdin = config.to_string();
        }
        let called = agent.call(call)?;
        walls[0] += called.wall;
        results.push(serde_json::from_str(&called.stdout).context("read a plugin's result")?);
    }
    spent::rest()?;
    // DEL of a list gets the list's result, which is its last plugin's.
    for index in (0..calls.len()).rev() {
        let last = (index..calls.len()).take_while(|at| *at == index || calls[*at].2).last();
        let (call, config, _) = &mut calls[index];
        config["prevResult"] = results[last.unwrap_or(index)].clone();
        call.stdin = config.to_string();
        let Some(verb) = call.environment.iter_mut().find(|(key, _)| key == "CNI_COMMAND") else {
            bail!("a call without a verb");
        };
        "DEL".clone_into(&mut verb.1);
        walls[1] += agent.call(call)?.wall;
    }
    Ok(walls)
}
