//! `cargo xtask soak`: everything that can go wrong on a node, one fault after the other, while pods come and go.

mod page;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use e2e::faults::{self, FAULTS, Fault};
use e2e::soak::{Engine, Pace, Row, Scene};

use crate::say;

const USAGE: &str = "usage: cargo xtask soak [OPTION...], as root

  --fault NAME             only this one; repeatable
  --for 30m                in rounds of all of them, in another order each, for that time (s, m or h); else each once
  --engine ours|upstream   whose Multus; `ours` is made first, unless E2E_IMAGES names a folder with images
  --seed N                 chooses orders, nodes and moments; told at the start of each run
  --page                   writes the table in docs/reliability.md, from the last round of each fault with each engine; alone, it
                           does nothing else";

struct Options {
    faults: Vec<&'static Fault>,
    time: Option<Duration>,
    engine: Engine,
    seed: u64,
    page: bool,
}

/// What was found, by fault.
type Rows = BTreeMap<String, Row>;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if arguments == ["--page"] {
        return page::write(&stored(Engine::Ours)?, &stored(Engine::Upstream)?);
    }
    let options = Options::read(arguments)?;
    crate::test::install_tools()?;
    if std::env::var_os("E2E_IMAGES").is_none() {
        crate::e2e::images()?;
    }
    say(&format!("seed {}", options.seed));
    let scene = Scene::up(name(options.engine), options.engine, Pace::Full, options.seed)?;
    say(&table::head());
    let rows = rounds(&scene, &options)?;
    // A cluster that shows nothing wrong is of no further use.
    drop(scene);
    if options.page {
        page::write(&stored(Engine::Ours)?, &stored(Engine::Upstream)?)?;
    }
    let failed: Vec<_> = rows.values().filter(|row| !row.is_clean()).map(|row| row.fault.as_str()).collect();
    if options.engine == Engine::Ours && !failed.is_empty() {
        bail!("pods suffered from: {}", failed.join(", "));
    }
    Ok(())
}

fn rounds(scene: &Scene, options: &Options) -> Result<Rows> {
    let start = Instant::now();
    let mut rows = Rows::new();
    loop {
        let mut order = options.faults.clone();
        if options.time.is_some() {
            // Fisher and Yates.
            for last in (1..order.len()).rev() {
                order.swap(last, scene.random(last + 1));
            }
        }
        for fault in order {
            let row = scene.round(fault)?;
            say(&table::row(&row));
            row.details.iter().for_each(|detail| say(&format!("    {detail}")));
            rows.entry(row.fault.clone()).and_modify(|rows| rows.add(&row)).or_insert(row);
            // Now: whoever ends a long run keeps what it found.
            store(options.engine, &rows)?;
            if options.time.is_some_and(|time| start.elapsed() >= time) {
                return Ok(rows);
            }
        }
        if options.time.is_none() {
            return Ok(rows);
        }
    }
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self> {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut options =
            Self { faults: Vec::new(), time: None, engine: Engine::Ours, seed: clock, page: false };
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{option} needs a value\n{USAGE}"));
            match option.as_str() {
                "--fault" => options.faults.push(faults::named(value()?)?),
                "--for" => options.time = Some(duration(value()?)?),
                "--engine" => options.engine = value()?.parse()?,
                "--seed" => options.seed = value()?.parse().context("--seed needs a number")?,
                "--page" => options.page = true,
                _ => bail!("there is no option {option:?}\n{USAGE}"),
            }
        }
        if options.faults.is_empty() {
            options.faults = FAULTS.iter().collect();
        }
        Ok(options)
    }
}

fn duration(text: &str) -> Result<Duration> {
    let wrong = || format!("{text:?} is no time; say 90s, 30m or 2h");
    let unit = text.chars().next_back().with_context(wrong)?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok().with_context(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => bail!(wrong()),
    };
    Ok(Duration::from_secs(number * seconds))
}

/// Two engines can be soaked at the same time.
fn name(engine: Engine) -> &'static str {
    match engine {
        Engine::Ours => "soak-ours",
        Engine::Upstream => "soak-upstream",
    }
}

fn file(engine: Engine) -> PathBuf {
    crate::root().join("target/soak").join(name(engine)).with_extension("json")
}

/// In place of what was found of the same faults before.
fn store(engine: Engine, rows: &Rows) -> Result<()> {
    let path = file(engine);
    let mut all = stored(engine)?;
    all.extend(rows.clone());
    fs::create_dir_all(path.parent().unwrap_or(&path))
        .with_context(|| format!("create the folder of {}", path.display()))?;
    let text = serde_json::to_vec_pretty(&all).context("write what was found")?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// What was found with that engine so far.
fn stored(engine: Engine) -> Result<Rows> {
    let path = file(engine);
    match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Rows::new()),
        read => {
            let text = read.with_context(|| format!("read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
        }
    }
}

/// What is printed while it runs.
mod table {
    use super::Row;

    pub(super) fn head() -> String {
        format!(
            "{:16} {:>5} {:>6} {:>8} {:>8} {:>6} {:>6} {:>5} {:>5} {:>14}",
            "fault",
            "pods",
            "never",
            "without",
            "slipped",
            "wrong",
            "stuck",
            "left",
            "hand",
            "ready p95 / max"
        )
    }

    pub(super) fn row(row: &Row) -> String {
        format!(
            "{:16} {:>5} {:>6} {:>8} {:>8} {:>6} {:>6} {:>5} {:>5} {:>5.1} / {:.1} s{}",
            row.fault,
            row.pods,
            row.never_ready,
            row.without_network,
            row.slipped,
            row.wrong_status,
            row.stuck,
            row.left.values().sum::<usize>(),
            if row.by_hand { "yes" } else { "no" },
            row.p95.as_secs_f32(),
            row.longest.as_secs_f32(),
            if row.is_clean() { "" } else { "  <--" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("2h", 7200)] {
            assert_eq!(duration(text).unwrap(), Duration::from_secs(seconds));
        }
        for text in ["", "m", "30", "30d", "x5m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
