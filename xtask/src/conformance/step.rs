//! Doing a step and comparing what was seen.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::case::{Case, Run, Step};
use super::check::{self, Seen};
use super::process::{Ended, Running};
use super::target::Target;
use super::world::World;

/// What the case found wrong: in the step's own expectations, and in those with the target's replacements.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) as_stated: Vec<String>,
    pub(super) as_known: Vec<String>,
}

/// Runs all steps of a case on a target.
pub(super) fn play(case: &Case, target: &Target, other: &Target) -> Result<Findings> {
    let mut world = World::new(case, target)?;
    let mut findings = Findings::default();
    let mut player = Player {
        target,
        other,
        world: &mut world,
        calls: 0,
        events: 0,
        requests: 0,
        findings: &mut findings,
    };
    for (number, step) in case.steps.iter().enumerate() {
        player.step(step, &format!("step {}", number + 1))?;
    }
    Ok(findings)
}

struct Player<'a> {
    target: &'a Target,
    other: &'a Target,
    world: &'a mut World,
    calls: usize,
    events: usize,
    requests: usize,
    findings: &'a mut Findings,
}

impl Player<'_> {
    fn step(&mut self, step: &Step, name: &str) -> Result<()> {
        self.prepare(step).with_context(|| name.to_owned())?;
        let ended = match (&step.call, &step.run) {
            (Some(verb), None) => Some(self.call(step, verb, name)?),
            (None, Some(run)) => Some(self.run(step, run, name)?),
            (None, None) => None,
            _ => bail!("{name}: either `call` or `run`"),
        };
        let label = step.call.as_deref().or(step.run.as_ref().map(|run| run.program.as_str()));
        let name = label.map_or_else(|| name.to_owned(), |label| format!("{name} ({label})"));
        self.compare(step, ended, &name)
    }

    fn prepare(&mut self, step: &Step) -> Result<()> {
        for (path, content) in &step.write {
            self.world.write(path, content)?;
        }
        for pattern in &step.remove {
            self.world.remove(pattern)?;
        }
        if let Some(change) = &step.api {
            self.world.change(change)?;
        }
        for command in &step.inside {
            let command = self.world.real(command);
            let netns = self.world.netns.as_ref().context("the namespace is gone")?;
            netns.run("sh", &["-c", &command])?;
        }
        if step.delete_netns {
            self.world.netns = None;
        }
        Ok(())
    }

    fn call(&mut self, step: &Step, verb: &str, name: &str) -> Result<Ended> {
        let mut environment = self.world.environment(verb);
        for (key, value) in &step.env {
            match value {
                Some(value) => environment.insert(key.clone(), self.world.real(value)),
                None => environment.remove(key),
            };
        }
        let stdin = match &step.stdin {
            Some(text) => self.world.real(text),
            None => self.world.stdin(&step.netconf),
        };
        let caller = if step.by_the_other { self.other } else { self.target };
        let program = caller.program("multus").context("the target has no plugin")?;
        let mut running = Running::start(program, &[], &environment, self.world.dir.path(), &stdin)?;
        if let Some(meanwhile) = &step.meanwhile {
            let before = self.calls;
            let world = &self.world;
            let started = std::time::Instant::now();
            let pause = step.meanwhile_after_ms.map(Duration::from_millis);
            testbed::wait::until("the right moment", Duration::from_secs(20), || {
                let moment = match pause {
                    Some(pause) => started.elapsed() >= pause,
                    None => world.recorder.calls().is_ok_and(|calls| calls.len() > before),
                };
                (moment || running.has_ended()).then_some(())
            })?;
            self.step(meanwhile, &format!("{name}, meanwhile"))?;
            // The calls of both belong to the outer step, whose expectation shows their order.
            self.calls = before;
        }
        running.wait()
    }

    fn run(&mut self, step: &Step, run: &Run, name: &str) -> Result<Ended> {
        let program =
            self.target.program(&run.program).with_context(|| format!("no program {}", run.program))?;
        let arguments: Vec<_> = run.args.iter().map(|argument| self.world.real(argument)).collect();
        let mut environment = std::collections::BTreeMap::new();
        environment.insert("PATH".to_owned(), std::env::var("PATH").unwrap_or_default());
        for (key, value) in &step.env {
            if let Some(value) = value {
                environment.insert(key.clone(), self.world.real(value));
            }
        }
        let stdin = step.stdin.as_ref().map_or_else(String::new, |text| self.world.real(text));
        let mut running = Running::start(program, &arguments, &environment, self.world.dir.path(), &stdin)?;
        if let Some(until) = &run.until {
            // A program that says something else or nothing shows that in what is compared.
            let _ = testbed::wait::until(until, Duration::from_secs(10), || {
                (running.said(until) || running.has_ended()).then_some(())
            });
            if let Some(then) = &run.then {
                self.step(then, &format!("{name}, then"))?;
            }
            running.terminate();
        }
        running.wait()
    }

    fn compare(&mut self, step: &Step, ended: Option<Ended>, name: &str) -> Result<()> {
        let calls = self.world.recorder.calls()?;
        let (events, requests) =
            self.world.api.as_ref().map_or_else(Default::default, |api| (api.events(), api.requests()));
        let seen = Seen {
            world: self.world,
            ended,
            calls: &calls[self.calls.min(calls.len())..],
            events: &events[self.events.min(events.len())..],
            requests: &requests[self.requests.min(requests.len())..],
        };
        let known: Map<String, Value> = match step.instead.get(&self.target.name) {
            None => step.expect.clone(),
            Some(instead) => {
                let mut known = Value::Object(step.expect.clone());
                super::case::overlay(&mut known, instead.clone());
                known.as_object().cloned().unwrap_or_default()
            }
        };
        for (expected, found) in
            [(&step.expect, &mut self.findings.as_stated), (&known, &mut self.findings.as_known)]
        {
            found
                .extend(check::differences(expected, &seen)?.into_iter().map(|why| format!("{name}: {why}")));
        }
        (self.calls, self.events, self.requests) = (calls.len(), events.len(), requests.len());
        Ok(())
    }
}
