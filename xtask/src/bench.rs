//! `cargo xtask bench`: ours and upstream's, side by side.
//!
//! Both run on the same API server (real TLS, in this process), the same plugins and the same namespaces, and take turns, so that
//! whatever else the machine does hits both. The plugins alone are measured in the same turns; what an ADD costs beyond them is the
//! difference of the medians. Figures are told, never asserted. Start reading at `measure_all`, then `attach.rs`.

mod attach;
mod cluster;
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
use table::{section, times};

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

/// Runs the benchmark: `[--quick | --rounds N] [--ours PROGRAM] [--shim PROGRAM]`, or `--cluster ...`; `weigh REPORT PROGRAM` and
/// `agent` are for itself.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut effort = Effort { rounds: 30, slow: true, publish: true };
    let (mut ours, mut shim) = (None, None);
    if arguments.iter().any(|word| word == "--cluster") {
        return cluster::run(&cluster::Options::parse(arguments)?, arguments);
    }
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
            "agent" => return cluster::serve(),
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
    let status = crate::build::cargo()
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
        ("ADD and DEL", attach::measure),
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
        page::publish("docs/benchmarks.md", &report)?;
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
