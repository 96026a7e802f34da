//! The figures as a page.

use super::memory::Pair;
use super::scene::{COUNTS, Side};
use super::spent::Spent;
use super::{Findings, Phase, budget, slow};
use crate::bench::table::{section, times};

/// The two phases.
pub(super) const LIMITS: [&str; 2] = ["no limits", "upstream's limits"];

pub(super) fn of(found: &Findings) -> String {
    let mut text = format!(
        "# multus-rs and Multus {}, thick, on a real cluster\n\nOne run, taking turns, {} rounds; {} CPUs for the whole cluster: \
         Kubernetes {}, containerd {}, three nodes that are alike but for what is installed. Ours by the chart with `examples/values-multus.yaml`, \
         upstream by its own manifest; both are limited to 100m of CPU and 50Mi (\"upstream's limits\"), and then to nothing (\"no \
         limits\"). The primary network is bridge with host-local and portmap, the others are bridge with host-local, {}. Times are in \
         ms, p50 / p95.\n\n",
        testbed::parts::UPSTREAM_VERSION,
        found.rounds,
        std::thread::available_parallelism().map_or(0, usize::from),
        testbed::parts::KUBERNETES_VERSION,
        testbed::parts::CONTAINERD.1,
        testbed::parts::REFERENCE_PLUGINS_VERSION,
    );
    let phases = || [&found.free, &found.shipped].into_iter().zip(LIMITS);
    text.push_str(&budget::table(found));
    for (phase, limits) in phases() {
        for verb in ["ADD", "DEL"] {
            text.push_str(&calls(phase, limits, verb));
        }
    }
    for (phase, limits) in phases() {
        text.push_str(&pods(phase, limits));
    }
    for (phase, limits) in phases() {
        text.push_str(&spent(phase, limits));
    }
    text.push_str(&load(found));
    text.push_str(&requests(&found.free));
    text.push_str(&memory(found));
    text.push_str(&late(found));
    text
}

fn calls(phase: &Phase, limits: &str, verb: &'static str) -> String {
    let rows = COUNTS.map(|count| {
        let wall = |side| phase.calls.wall(side, verb, count).spread();
        let [ours, upstream] = Side::MULTUS.map(|side| phase.calls.beyond(side, verb, count));
        vec![
            count.to_string(),
            wall(Side::Plain),
            wall(Side::Ours),
            wall(Side::Upstream),
            ours.spread(),
            upstream.spread(),
            times(upstream.median(), ours.median()),
        ]
    });
    let note = "Calls made in the node's namespaces, of what is installed there, for pods that the API server has, each when the computer is \
                at rest. Delegates: each plugin called directly, one after another, on the node without Multus. Beyond: the difference, \
                round by round.";
    let head =
        ["networks", "delegates", "ours", "upstream", "ours beyond", "upstream beyond", "upstream / ours"];
    let mut text = section(&format!("{verb}, {limits}"), note, &head, &rows);
    if verb == "ADD" {
        text.push_str(&waits(phase, limits));
    }
    text
}

/// Of what ADD takes beyond the delegates, the part that no Multus can make shorter.
fn waits(phase: &Phase, limits: &str) -> String {
    let rows = COUNTS.map(|count| {
        let cells = Side::MULTUS.map(|side| phase.calls.waited(side, count).spread());
        [count.to_string()].into_iter().chain(cells).collect()
    });
    let note = "Of that: how long the API server worked on what the daemon had asked it, until the ADD ended. Ours writes the status of a pod \
                without networks when the ADD is over.";
    section(
        &format!("ADD, waiting for the API server, {limits}"),
        note,
        &["networks", "ours", "upstream"],
        &rows,
    )
}

fn pods(phase: &Phase, limits: &str) -> String {
    let plain = phase.bursts.plain();
    let mut rows = vec![vec![
        "without Multus".to_owned(),
        format!("{:.0}", plain.running.median()),
        String::new(),
        format!("{:.0}", plain.ready.median()),
        String::new(),
    ]];
    for count in [0, 1] {
        for side in Side::MULTUS {
            let burst = phase.bursts.of(side, count);
            let share = |own: f64, plain: f64| format!("{:.0} %", own / plain * 100.0);
            rows.push(vec![
                format!("{}, {count} networks", side.name()),
                format!("{:.0}", burst.running.median()),
                share(burst.running.median(), plain.running.median()),
                format!("{:.0}", burst.ready.median()),
                share(burst.ready.median(), plain.ready.median()),
            ]);
        }
    }
    let note = "Pods a minute, median: until the program of the last one ran, and until the API server knew that all were ready, which \
                the kubelet looks for once a second. The share is of what there is without Multus and without networks.";
    let head = ["ten pods at once", "running", "share", "ready", "share"];
    section(&format!("Ten pods at once, {limits}"), note, &head, &rows)
}

fn spent(phase: &Phase, limits: &str) -> String {
    let kinds = [("without Multus", Side::Plain, 0)]
        .into_iter()
        .chain([0, 1].into_iter().flat_map(|count| Side::MULTUS.map(|side| (side.name(), side, count))));
    let rows: Vec<_> = kinds
        .map(|(name, side, count)| {
            let burst = phase.bursts.of(side, count);
            let name =
                if side == Side::Plain { name.to_owned() } else { format!("{name}, {count} networks") };
            let rest = |spent: &Spent| spent.all.saturating_sub(spent.control_plane + spent.nodes);
            let parts = [
                burst.spent_each(|spent| spent.all),
                burst.spent_each(|spent| spent.control_plane),
                burst.spent_each(|spent| spent.nodes),
                burst.spent_each(rest),
            ];
            [name].into_iter().chain(parts.map(|part| format!("{part:.0}"))).collect()
        })
        .collect();
    let note = "Milliseconds of the whole computer's CPU time for each of the ten pods, from their creation until all were ready, mean. All \
                of the cluster shares the processors, so this is what pods wait for. A pod with a network has one more interface to make, \
                whoever makes it.";
    let head = [
        "ten pods at once",
        "all",
        "API server, etcd, controllers",
        "kubelet and containerd",
        "plugins, shims, daemons and all else",
    ];
    section(&format!("Where the CPU time of ten pods goes, {limits}"), note, &head, &rows)
}

fn load(found: &Findings) -> String {
    let mut rows: Vec<_> = [0, 1]
        .into_iter()
        .map(|count| {
            let pair = Side::MULTUS.map(|side| found.free.bursts.of(side, count).cpu_each());
            load_row(format!("for a pod with {count} networks, ms"), pair)
        })
        .collect();
    if let Some(whole) = &found.whole {
        rows.push(load_row("at rest, control group, ms a minute".to_owned(), whole.rest));
    }
    let note = "Without limits. For a pod: of the daemon and what it starts, from the pod's creation to its end, mean. Upstream's daemon \
                runs the delegates, and theirs is in it; ours runs none. At rest: of its control group, in which the kubelet's probes run.";
    section("The daemon's CPU", note, &["", "ours", "upstream", "upstream / ours"], &rows)
}

fn load_row(name: String, [ours, upstream]: [f64; 2]) -> Vec<String> {
    vec![name, format!("{ours:.1}"), format!("{upstream:.1}"), times(upstream, ours)]
}

fn requests(phase: &Phase) -> String {
    let list = |side, count| {
        let burst = phase.bursts.of(side, count);
        let each =
            burst.requests.iter().map(|(request, number)| format!("{:.1} {request}", burst.each(*number)));
        let each: Vec<_> = each.collect();
        if each.is_empty() { "none".to_owned() } else { each.join(", ") }
    };
    let rows =
        [0, 1].map(|count| vec![count.to_string(), list(Side::Ours, count), list(Side::Upstream, count)]);
    let note = "Of the daemon for each pod, from creation to end, by the API server's audit log. Watches are there for all pods.";
    section("Requests to the API server", note, &["networks", "ours", "upstream"], &rows)
}

fn memory(found: &Findings) -> String {
    let whole = found.whole.as_ref();
    let weighed: [(&str, Option<Pair>); 6] = [
        ("idle, upstream's limits", Some(found.shipped.idle)),
        ("after load, upstream's limits", Some(found.shipped.loaded)),
        ("idle, no limits", Some(found.free.idle)),
        ("after load, no limits", Some(found.free.loaded)),
        ("with 250 pods, no limits", whole.map(|whole| whole.pods)),
        ("started anew among 10,000 networks, no limits", whole.map(|whole| whole.networks)),
    ];
    let rows: Vec<_> = weighed
        .into_iter()
        .filter_map(|(name, pair)| {
            let [ours, upstream] = pair?;
            let cell = |bytes| format!("{:.1}", mebibytes(bytes));
            Some(vec![
                name.to_owned(),
                cell(ours.resident),
                cell(upstream.resident),
                times(mebibytes(upstream.resident), mebibytes(ours.resident)),
                cell(ours.group),
                cell(upstream.group),
                cell(ours.peak),
                cell(upstream.peak),
            ])
        })
        .collect();
    let note = "MiB. Resident: VmRSS, file pages included. Group: what counts for the daemon's control group, as `kubectl top` shows it. \
                Peak: the most that it ever used, file pages that could have gone at once included.";
    let head = [
        "",
        "ours, resident",
        "upstream, resident",
        "upstream / ours",
        "ours, group",
        "upstream, group",
        "ours, peak",
        "upstream, peak",
    ];
    section("The daemon's memory", note, &head, &rows)
}

fn late(found: &Findings) -> String {
    let Some(whole) = &found.whole else { return String::new() };
    let rows = slow::COUNTS.map(|count| {
        let cell = |side| match &whole.slow[&(side, count)] {
            (took, None) => format!("{:.2} s", took.as_secs_f32()),
            (took, Some(error)) => format!("FAILS after {:.2} s: {error}", took.as_secs_f32()),
        };
        vec![count.to_string(), cell(Side::Ours), cell(Side::Upstream)]
    });
    let note = "One ADD while everything that the daemon sends to the API server is 5 s on its way.";
    section("A slow API server", note, &["networks", "ours", "upstream"], &rows)
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
