//! ADD and DEL: how long they take, what `multus` adds to its plugins, and what that costs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::measure::{Samples, peak_memory, run as execute};
use super::scene::{COUNTS, Plugins, Scene, Side};
use super::table::{ms, section, times};
use super::thick::Daemon;
use super::{Effort, mebibytes};

/// What was measured of one kind of call.
#[derive(Default)]
struct Kind {
    wall: Samples,
    /// The process' own, and its children's.
    cpu: Samples,
    /// The daemon's since the last turn, in thick mode; with the DEL of a turn.
    daemon: Samples,
}

type Measured = BTreeMap<(Side, &'static str, usize), Kind>;

/// The whole job with real plugins, and what `multus` adds to plugins that do next to nothing. The latter says more about `multus`: real
/// plugins vary by more than it takes.
pub(super) fn measure(scene: &Scene, effort: &Effort) -> Result<String> {
    let real = all_turns(scene, effort, Plugins::Real)?;
    let light = all_turns(scene, effort, Plugins::Light)?;
    let mut text = String::new();
    for (mode, sides) in [("thin", &Side::THIN[..]), ("thick", &Side::THICK[..])] {
        for verb in ["ADD", "DEL"] {
            text.push_str(&latency(mode, sides, verb, &real));
        }
        for verb in ["ADD", "DEL"] {
            text.push_str(&overhead(mode, sides, verb, &light));
        }
    }
    text.push_str(&weight(scene, &light)?);
    text.push_str(&daemons(scene, &light)?);
    Ok(text)
}

fn all_turns(scene: &Scene, effort: &Effort, plugins: Plugins) -> Result<Measured> {
    let mut measured = Measured::new();
    for side in Side::ALL {
        // Once unmeasured: bridges are made, files come into the cache.
        turn(scene, side, COUNTS[COUNTS.len() - 1], plugins, &mut Measured::new())?;
    }
    for round in 0..effort.rounds {
        for count in COUNTS {
            for turn_of in 0..Side::ALL.len() {
                turn(scene, Side::ALL[(round + turn_of) % Side::ALL.len()], count, plugins, &mut measured)?;
            }
        }
    }
    Ok(measured)
}

/// One ADD and one DEL of one side.
fn turn(scene: &Scene, side: Side, count: usize, plugins: Plugins, measured: &mut Measured) -> Result<()> {
    scene.forget_calls()?;
    let daemon = scene.daemon(side, plugins);
    let before = daemon.map(|daemon| daemon.cpu()).transpose()?;
    for verb in ["ADD", "DEL"] {
        let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
        for command in scene.commands(side, verb, count, plugins)? {
            let run = execute(command)?;
            ensure!(
                run.status.success(),
                "{} {verb} with {count} networks: {}",
                side.name(),
                run.error_text()
            );
            wall += run.wall;
            cpu += run.cpu;
        }
        let kind = measured.entry((side, verb, count)).or_default();
        kind.wall.add(wall);
        kind.cpu.add(cpu);
    }
    if let (Some(daemon), Some(before)) = (daemon, before) {
        let kind = measured.entry((side, "DEL", count)).or_default();
        kind.daemon.add(daemon.cpu()?.saturating_sub(before));
    }
    Ok(())
}

fn latency(mode: &str, sides: &[Side], verb: &'static str, measured: &Measured) -> String {
    let rows = COUNTS.map(|count| {
        let sides = [Side::Plugins].into_iter().chain(sides.iter().copied());
        let walls = sides.map(|side| &measured[&(side, verb, count)].wall);
        let figures = walls.map(|walls| format!("{} / {}", ms(walls.median()), ms(walls.quantile(0.95))));
        [count.to_string()].into_iter().chain(figures).collect()
    });
    let how = match mode {
        "thin" => {
            "Ours: the runtime hands the pod's annotations over; looked up: it does not, and the pod is fetched."
        }
        _ => "The runtime hands the pod's annotations to our shim; both daemons watch the API server.",
    };
    let note = format!("Plugins alone: each plugin called directly, one after another. {how}");
    let names = sides.iter().map(|side| side.name());
    let head: Vec<_> = ["networks", "plugins alone"].into_iter().chain(names).collect();
    section(&format!("{verb} with bridge and host-local, {mode}"), &note, &head, &rows)
}

fn overhead(mode: &str, sides: &[Side], verb: &'static str, measured: &Measured) -> String {
    let (theirs, ours) = sides.split_last().unwrap_or((&Side::Plugins, &[]));
    let rows = COUNTS.map(|count| {
        let median = |side| measured[&(side, verb, count)].wall.median();
        let alone = median(Side::Plugins);
        let beyond = |side: &Side| median(*side) - alone;
        let figures = sides.iter().map(|side| ms(beyond(side)));
        let ratios = ours.iter().map(|side| times(beyond(theirs), beyond(side)));
        [count.to_string(), ms(alone)].into_iter().chain(figures).chain(ratios).collect()
    });
    let note = "Medians, above plugins that do next to nothing, called directly one after another.";
    let names = sides.iter().map(|side| side.name().to_owned());
    let ratios = ours.iter().map(|side| format!("{} / {}", theirs.name(), side.name()));
    let head: Vec<_> =
        ["networks", "those plugins"].map(str::to_owned).into_iter().chain(names).chain(ratios).collect();
    let head: Vec<_> = head.iter().map(String::as_str).collect();
    section(&format!("{verb} beyond the plugins' own time, {mode}"), note, &head, &rows)
}

/// CPU beyond the plugins' own, and memory with plugins that weigh next to nothing.
fn weight(scene: &Scene, measured: &Measured) -> Result<String> {
    let mut rows = Vec::new();
    for count in COUNTS {
        for verb in ["ADD", "DEL"] {
            let cpu = |side| {
                measured[&(side, verb, count)].cpu.mean() - measured[&(Side::Plugins, verb, count)].cpu.mean()
            };
            let mut row = vec![format!("{verb}, {count} networks")];
            row.extend(Side::THIN.map(|side| ms(cpu(side))));
            rows.push(row);
        }
        let (mut adds, mut dels) = (Vec::new(), Vec::new());
        for side in Side::MULTUS {
            for (verb, peaks) in [("ADD", &mut adds), ("DEL", &mut dels)] {
                let (program, environment, stdin) = scene.call(side, verb, count, Plugins::Light);
                peaks.push(mebibytes(peak_memory(program, &environment, &stdin)?));
            }
        }
        let last = rows.len() - 2;
        rows[last].extend(adds);
        rows[last + 1].extend(dels);
    }
    let cpu = Side::THIN.iter().map(|side| format!("CPU {}", side.name()));
    let memory = Side::MULTUS.iter().map(|side| format!("MiB {}", side.name()));
    let head: Vec<_> = [String::new()].into_iter().chain(cpu).chain(memory).collect();
    let head: Vec<_> = head.iter().map(String::as_str).collect();
    let note = "CPU: mean of user and system time beyond the plugins' own, ms. Memory: peak resident set of what the runtime starts. Both \
                with plugins that do next to nothing in 2 MiB.";
    Ok(section("CPU and memory per call", note, &head, &rows))
}

/// What a pod's ADD and DEL cost in thick mode, wherever it is spent, and what the daemons hold.
fn daemons(scene: &Scene, measured: &Measured) -> Result<String> {
    let plugins = |count| -> f64 {
        ["ADD", "DEL"].map(|verb| measured[&(Side::Plugins, verb, count)].cpu.mean()).iter().sum()
    };
    let mut rows = Vec::new();
    for count in COUNTS {
        let whole = |side| -> f64 {
            let shim: f64 = ["ADD", "DEL"].map(|verb| measured[&(side, verb, count)].cpu.mean()).iter().sum();
            shim + measured[&(side, "DEL", count)].daemon.mean() - plugins(count)
        };
        let [ours, theirs] = Side::THICK.map(whole);
        rows.push(vec![
            format!("CPU of a pod with {count} networks, ms"),
            ms(ours),
            ms(theirs),
            times(theirs, ours),
        ]);
    }
    let mut held = |name: &str, look: &dyn Fn(&Daemon) -> Result<u64>| -> Result<()> {
        let kibibytes = Side::THICK
            .map(|side| scene.daemon(side, Plugins::Light).context("a daemon is missing").and_then(look));
        let [ours, theirs] = kibibytes;
        let (ours, theirs) = (ours?, theirs?);
        #[allow(clippy::cast_precision_loss)]
        let ratio = times(theirs as f64, ours as f64);
        rows.push(vec![name.to_owned(), mebibytes(ours), mebibytes(theirs), ratio]);
        Ok(())
    };
    held("daemon, before the first pod, MiB", &|daemon| Ok(daemon.idle))?;
    held("daemon, after all pods, MiB", &|daemon| daemon.resident())?;
    let note = "CPU: of ADD and DEL together, shim and daemon, beyond the plugins' own. Memory: resident set. No limits.";
    Ok(section(
        "Thick mode: what a pod costs, and the daemon",
        note,
        &["", "ours", "upstream", "upstream / ours"],
        &rows,
    ))
}
