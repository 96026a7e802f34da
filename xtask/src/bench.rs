//! `cargo xtask bench`: ours and upstream's, side by side.
//!
//! Both run on the same API server (real TLS, in this process), the same plugins and the same namespaces, and take turns, so that
//! whatever else the machine does hits both. The plugins alone are measured in the same turns; what an ADD costs beyond them is the
//! difference of the medians. Figures are told, never asserted. Start reading at `measure_all`.

mod measure;
mod page;
mod priority;
mod scene;
mod table;
mod thick;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{cni, say};
use measure::{Run, Samples, peak_memory, run as execute};
use scene::{COUNTS, Plugins, Scene, Side};
use table::{ms, section, times};

const OURS: &str = "MULTUS_BENCH_OURS";
const SHIM: &str = "MULTUS_BENCH_SHIM";
const UPSTREAM: &str = "MULTUS_BENCH_UPSTREAM";
const PLUGINS: &str = "MULTUS_BENCH_PLUGINS";

/// What is measured.
struct Programs {
    ours: PathBuf,
    shim: PathBuf,
    upstream: PathBuf,
    upstream_shim: PathBuf,
    upstream_daemon: PathBuf,
    plugins: PathBuf,
}

impl Programs {
    /// What the half of this task outside the namespace has built; `None` in that half.
    fn given() -> Option<Self> {
        let given = |key| std::env::var_os(key).map(PathBuf::from);
        let upstream = given(UPSTREAM)?;
        Some(Self {
            ours: given(OURS)?,
            shim: given(SHIM)?,
            upstream: upstream.join("multus"),
            upstream_shim: upstream.join("multus-shim"),
            upstream_daemon: upstream.join("multus-daemon"),
            plugins: given(PLUGINS)?,
        })
    }
}

/// Measures one subject and words its part of the report.
type Section = fn(&Scene, &Effort) -> Result<String>;

/// How much is measured.
struct Effort {
    rounds: usize,
    slow: bool,
    /// Whether the figures go into docs/benchmarks.md.
    publish: bool,
}

/// Runs the benchmark: `[--quick | --rounds N] [--ours PROGRAM] [--shim PROGRAM]`, and `weigh REPORT PROGRAM` for itself.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut effort = Effort { rounds: 30, slow: true, publish: true };
    let (mut ours, mut shim) = (None, None);
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--quick" => effort = Effort { rounds: 5, slow: false, publish: false },
            "--rounds" => {
                let rounds = words.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
                effort = Effort {
                    rounds: rounds.context("--rounds needs a number")?,
                    slow: false,
                    publish: false,
                };
            }
            "--ours" => ours = Some(PathBuf::from(words.next().context("--ours needs a program")?)),
            "--shim" => shim = Some(PathBuf::from(words.next().context("--shim needs a program")?)),
            "weigh" => {
                let report = words.next().context("weigh needs a file for its report")?;
                return measure::weigh(Path::new(report), words.next().context("weigh needs a program")?);
            }
            unknown => {
                bail!(
                    "bench knows no {unknown:?}; there are --quick, --rounds N, --ours PROGRAM and --shim PROGRAM"
                )
            }
        }
    }
    if let Some(programs) = Programs::given() {
        // Before the API server starts: its threads take part.
        let priority = priority::raise();
        let scene = Scene::set(programs)?;
        return measure_all(&scene, &effort, &priority);
    }
    if cfg!(debug_assertions) {
        return again_optimised(arguments);
    }
    say("Building multus as it is released (static), the CNI reference plugins and upstream's multus");
    let ours = ours.map_or_else(crate::build::static_multus, Ok)?;
    let shim =
        shim.map_or_else(|| crate::build::static_program("multus-shim", crate::build::Arch::native()?), Ok)?;
    let upstream = testbed::parts::upstream_multus()?;
    let plugins = testbed::parts::reference_plugins()?;
    testbed::plugin::program()?;
    let text = |path: &PathBuf| path.to_str().map(str::to_owned).context("a path is not UTF-8");
    let environment = [(OURS, &ours), (SHIM, &shim), (UPSTREAM, &upstream), (PLUGINS, &plugins)]
        .map(|(key, path)| Ok((key, text(path)?)));
    let environment = environment.into_iter().collect::<Result<Vec<_>>>()?;
    let environment: Vec<_> = environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let status =
        testbed::enter(&environment)?.context("the benchmark is in its namespace before it began")?;
    ensure!(status.success(), "the benchmark did not end well");
    Ok(())
}

/// Runs this task as an optimised program: the API server is in this process, and a slow one would be measured along with its clients.
fn again_optimised(arguments: &[String]) -> Result<()> {
    say("Building the benchmark itself, optimised");
    let status = std::process::Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--profile", "measure", "--package", "xtask", "--", "bench"])
        .args(arguments)
        .current_dir(crate::root())
        .status()
        .context("start cargo to build the benchmark")?;
    ensure!(status.success(), "the benchmark did not end well");
    Ok(())
}

fn measure_all(scene: &Scene, effort: &Effort, priority: &str) -> Result<()> {
    let mut report = format!(
        "# multus-rs and Multus {}, side by side\n\nOne run, taking turns, {} rounds; {} CPUs; {priority}. Times are in ms, \
         p50 / p95. Plugins: bridge and host-local {}, in network namespaces. API server: on this machine, TLS and HTTP/2.\n\n",
        testbed::parts::UPSTREAM_VERSION,
        effort.rounds,
        std::thread::available_parallelism().map_or(0, usize::from),
        testbed::parts::REFERENCE_PLUGINS_VERSION,
    );
    let sections: [(&str, Section); 5] = [
        ("files", files),
        ("VERSION", version),
        ("ADD and DEL", attach),
        ("API calls", api_calls),
        ("a slow API server", slow_api),
    ];
    for (name, measure) in sections {
        say(&format!("Measuring {name} ..."));
        report.push_str(&measure(scene, effort).with_context(|| format!("measure {name}"))?);
    }
    let left = scene.left()?;
    ensure!(left == 0, "{left} interfaces and leases are left after all was detached");
    let path = crate::root().join("target/bench.md");
    std::fs::create_dir_all(crate::root().join("target"))?;
    std::fs::write(&path, &report).with_context(|| format!("write {}", path.display()))?;
    say("");
    say(report.trim_end());
    say(&format!("\nWritten to {}", path.display()));
    if effort.publish {
        page::publish(&report)?;
    }
    Ok(())
}

fn files(scene: &Scene, _: &Effort) -> Result<String> {
    let size =
        |path: &Path| std::fs::metadata(path).map(|file| file.len()).context("look at a program's size");
    let programs = &scene.programs;
    let (ours, upstream) = (size(&programs.ours)?, size(&programs.upstream)?);
    let (shim, upstream_shim) = (size(&programs.shim)?, size(&programs.upstream_shim)?);
    #[allow(clippy::cast_precision_loss)]
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let row = |name: &str, bytes| vec![name.to_owned(), format!("{:.1}", megabytes(bytes))];
    let rows = [
        row("ours", ours),
        row("upstream (stripped)", upstream),
        vec!["upstream / ours".to_owned(), times(megabytes(upstream), megabytes(ours))],
        row("ours: the shim", shim),
        row("upstream: the shim (stripped)", upstream_shim),
        vec!["upstream / ours".to_owned(), times(megabytes(upstream_shim), megabytes(shim))],
    ];
    Ok(section("The file on the node", "", &["", "MB"], &rows))
}

fn version(scene: &Scene, effort: &Effort) -> Result<String> {
    let programs = [
        ("/bin/true", Path::new("/bin/true")),
        ("ours", &scene.programs.ours),
        ("upstream", &scene.programs.upstream),
        ("our shim", &scene.programs.shim),
        ("upstream's shim", &scene.programs.upstream_shim),
    ];
    let mut samples: BTreeMap<&str, (Samples, Samples)> = BTreeMap::new();
    let environment = [("CNI_COMMAND".to_owned(), "VERSION".into())];
    for round in 0..effort.rounds * 10 {
        for turn in 0..programs.len() {
            let (name, program) = programs[(round + turn) % programs.len()];
            let run = execute(cni::command(program, &environment, b"{\"cniVersion\":\"1.0.0\"}")?)?;
            ensure!(run.status.success(), "{name} VERSION: {}", run.error_text());
            let (wall, cpu) = samples.entry(name).or_default();
            wall.add(run.wall);
            cpu.add(run.cpu);
        }
    }
    let floor = samples["/bin/true"].0.median();
    let mut rows = Vec::new();
    for (name, program) in programs {
        let (wall, cpu) = &samples[name];
        let memory = peak_memory(program, &environment, b"{\"cniVersion\":\"1.0.0\"}")?;
        rows.push(vec![
            name.to_owned(),
            format!("{:.2} / {:.2}", wall.median(), wall.quantile(0.95)),
            format!("{:.2}", wall.median() - floor),
            format!("{:.2}", cpu.mean()),
            mebibytes(memory),
        ]);
    }
    let head = ["", "exec to exit", "beyond /bin/true", "CPU, mean", "peak memory, MiB"];
    let note = format!(
        "{} calls each. Peak memory: of the resident set; what /bin/true shows is the least that can be seen.",
        samples["ours"].0.len()
    );
    Ok(section("VERSION", &note, &head, &rows))
}

fn mebibytes(kibibytes: u64) -> String {
    #[allow(clippy::cast_precision_loss)]
    let value = kibibytes as f64 / 1024.0;
    format!("{value:.1}")
}

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
fn attach(scene: &Scene, effort: &Effort) -> Result<String> {
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
    let mut held = |name: &str, look: &dyn Fn(&thick::Daemon) -> Result<u64>| -> Result<()> {
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

fn api_calls(scene: &Scene, _: &Effort) -> Result<String> {
    let mut rows = Vec::new();
    for count in COUNTS {
        let mut row = vec![count.to_string()];
        for side in Side::THIN {
            for verb in ["ADD", "DEL"] {
                scene.api.clear_requests();
                let run = one(scene, side, verb, count)?;
                ensure!(run.status.success(), "{} {verb}: {}", side.name(), run.error_text());
                row.push(by_method(scene));
            }
        }
        rows.push(row);
    }
    let head = ["networks", "ours: ADD", "DEL", "ours, looked up: ADD", "DEL", "upstream: ADD", "DEL"];
    Ok(section("API calls, thin", "", &head, &rows))
}

fn by_method(scene: &Scene) -> String {
    let mut methods: BTreeMap<String, usize> = BTreeMap::new();
    for request in scene.api.requests() {
        *methods.entry(request.method).or_default() += 1;
    }
    if methods.is_empty() {
        return "none".to_owned();
    }
    methods.iter().map(|(method, count)| format!("{count} {method}")).collect::<Vec<_>>().join(", ")
}

fn one(scene: &Scene, side: Side, verb: &str, count: usize) -> Result<Run> {
    let mut commands = scene.commands(side, verb, count, Plugins::Real)?;
    execute(commands.pop().context("a verb without a command")?)
}

fn slow_api(scene: &Scene, effort: &Effort) -> Result<String> {
    let mut rows = Vec::new();
    let (mut delays, counts): (Vec<u64>, &[usize]) = (vec![300], &COUNTS[..2]);
    if effort.slow {
        delays.push(5000);
    }
    for delay in delays {
        for &count in counts {
            let mut row =
                vec![format!("{:.1} s, {count} networks", Duration::from_millis(delay).as_secs_f32())];
            for side in Side::MULTUS {
                scene.api.set_delay(Duration::from_millis(delay));
                let start = Instant::now();
                let run = one(scene, side, "ADD", count)?;
                let took = start.elapsed().as_secs_f32();
                // Undone with a fast server again: the next one starts from the same state.
                scene.api.set_delay(Duration::ZERO);
                let undone = one(scene, side, "DEL", count)?;
                ensure!(undone.status.success(), "{} DEL: {}", side.name(), undone.error_text());
                row.push(if run.status.success() {
                    format!("{took:.2} s")
                } else {
                    format!("FAILS after {took:.2} s")
                });
            }
            rows.push(row);
        }
    }
    let note = "Time of one ADD while every answer of the API server comes late.";
    let head: Vec<_> = ["delay"].into_iter().chain(Side::MULTUS.map(Side::name)).collect();
    Ok(section("A slow API server", note, &head, &rows))
}
