//! What each figure was to be, and what came of it.

use super::burst::Burst;
use super::memory::Pair;
use super::report::{LIMITS, mebibytes};
use super::scene::{COUNTS, Side};
use super::series::Series;
use super::{Findings, Phase};
use crate::bench::table::{section, times};

/// What ADD may take beyond the delegates, by number of networks: without limits, and with those that are shipped.
const ADD: [[f64; 4]; 2] = [[2.0, 6.0, 6.0, 8.0], [2.0, 10.0, 10.0, 12.0]];
const DEL: f64 = 2.0;
/// Of the pods a minute that there are without Multus.
const PODS: f64 = 0.95;
/// Milliseconds of the daemon's for a pod with none and with one network.
const CPU: [f64; 2] = [2.0, 5.0];
/// MiB: idle, after load, anew among ten thousand networks.
const MEMORY: [f64; 3] = [8.0, 12.0, 20.0];
/// Seconds while the API server is slow: nothing to speak of, and what the status may take before it is put off.
const SLOW: [f64; 2] = [0.2, 3.5];

/// One figure.
#[derive(Debug, Clone, PartialEq)]
struct Figure {
    name: String,
    ours: f64,
    /// How far ours may be off; nothing where it is exact, or measured otherwise.
    give: Option<f64>,
    upstream: f64,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    fn cells(&self) -> Vec<String> {
        let number = |value: f64| if value.is_nan() { "–".to_owned() } else { format!("{value:.1}") };
        let (bound, missed, better) = match self.bound {
            Bound::AtMost(most) => {
                (format!("≤ {most:.1}"), self.ours - most, times(self.upstream, self.ours))
            }
            Bound::AtLeast(least) => {
                (format!("≥ {least:.1}"), least - self.ours, times(self.ours, self.upstream))
            }
        };
        // A tenth is as fine as figures are told; one that looks met is.
        let verdict = if missed < 0.05 { "met".to_owned() } else { format!("missed by {missed:.1}") };
        let better = if self.upstream.is_nan() { "–".to_owned() } else { better };
        let give = self.give.map(|give| format!(" ± {give:.1}")).unwrap_or_default();
        let ours = number(self.ours) + &give;
        vec![self.name.clone(), number(self.upstream), ours, better, bound, verdict]
    }

    fn of(name: String, series: [&Series; 2], bound: Bound) -> Self {
        let give = Some(series[0].give());
        Self { give, ..figure(name, series.map(Series::median), bound) }
    }
}

pub(super) fn table(found: &Findings) -> String {
    let rows: Vec<_> = figures(found).iter().map(Figure::cells).collect();
    let head = ["", "upstream", "ours", "times better", "goal", ""];
    let note = "What this project aims at. Medians; behind ± how far another run like this one may be from it, in 19 of \
                20.";
    section("Goals", note, &head, &rows)
}

fn figures(found: &Findings) -> Vec<Figure> {
    let mut figures = shims(found);
    for (phase, (limits, add)) in [&found.free, &found.shipped].into_iter().zip(LIMITS.into_iter().zip(ADD)) {
        figures.extend(calls(phase, limits, add));
    }
    for (phase, limits) in [&found.free, &found.shipped].into_iter().zip(LIMITS) {
        figures.extend(pods(phase, limits));
    }
    figures.extend(load(&found.free));
    figures.extend(memory(found));
    figures.extend(slow(found));
    figures
}

fn figure(name: String, pair: [f64; 2], bound: Bound) -> Figure {
    let [ours, upstream] = pair;
    Figure { name, ours, give: None, upstream, bound }
}

fn shims(found: &Findings) -> Vec<Figure> {
    #[allow(clippy::cast_precision_loss)]
    let peaks = found.shims.each_ref().map(|shim| shim.peak as f64 / 1024.0);
    let beyond = found.shims.each_ref().map(|shim| shim.beyond.median());
    let mut figures = vec![
        figure("shim, VERSION beyond /bin/true, ms".to_owned(), beyond, Bound::AtMost(0.7)),
        figure("shim, peak memory, MiB".to_owned(), peaks, Bound::AtMost(3.0)),
    ];
    if let Some(whole) = &found.whole {
        #[allow(clippy::cast_precision_loss)]
        let images = whole.images.map(|bytes| bytes as f64 / 1e6);
        figures.push(figure("image, packed, MB".to_owned(), images, Bound::AtMost(12.0)));
    }
    figures
}

fn calls(phase: &Phase, limits: &str, add: [f64; 4]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (verb, bounds) in [("ADD", add), ("DEL", [DEL; 4])] {
        for (count, bound) in COUNTS.into_iter().zip(bounds) {
            let pair = Side::MULTUS.map(|side| phase.calls.beyond(side, verb, count));
            let name = format!("{verb} beyond the delegates, {count} networks, {limits}, ms");
            figures.push(Figure::of(name, pair.each_ref(), Bound::AtMost(bound)));
        }
    }
    figures
}

fn pods(phase: &Phase, limits: &str) -> Vec<Figure> {
    let plain = phase.bursts.plain().running.median();
    let line = |count| {
        let pair = Side::MULTUS.map(|side| &phase.bursts.of(side, count).running);
        let name = format!("ten pods at once, {count} networks, {limits}, pods a minute");
        Figure::of(name, pair, Bound::AtLeast(plain * PODS))
    };
    vec![line(0), line(1)]
}

fn load(phase: &Phase) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (count, most) in CPU.into_iter().enumerate() {
        let bursts = Side::MULTUS.map(|side| phase.bursts.of(side, count));
        let mut line = |name: &str, look: &dyn Fn(&Burst) -> f64, most| {
            let name = format!("{name}, {count} networks");
            figures.push(figure(name, bursts.map(look), Bound::AtMost(most)));
        };
        line("daemon's CPU for a pod, ms", &Burst::cpu_each, most);
        line("GETs of the API server for a pod", &|burst| burst.requests_with(&["GET", "LIST"]), 0.0);
        line("writes of a pod", &|burst| burst.requests_with(&["PATCH pods", "UPDATE pods"]), 1.0);
        line("leases that a pod leaves", &Burst::leases_each, 0.0);
    }
    figures
}

fn memory(found: &Findings) -> Vec<Figure> {
    let whole = found.whole.as_ref();
    let weighed = [
        ("idle", Some(found.free.idle)),
        ("with 250 pods", whole.map(|whole| whole.pods)),
        ("anew among 10,000 networks", whole.map(|whole| whole.networks)),
    ];
    let line = |(name, pair): (&str, Option<Pair>), most| {
        let pair = pair?.map(|weight| mebibytes(weight.resident));
        Some(figure(format!("daemon, {name}, MiB"), pair, Bound::AtMost(most)))
    };
    weighed.into_iter().zip(MEMORY).filter_map(|(weighed, most)| line(weighed, most)).collect()
}

fn slow(found: &Findings) -> Vec<Figure> {
    let Some(whole) = &found.whole else { return Vec::new() };
    let line = |(count, most): (usize, f64)| {
        let pair = Side::MULTUS.map(|side| whole.slow[&(side, count)].0.as_secs_f64());
        let name = format!("ADD, answers {} s late, {count} networks, s", super::slow::LATE.as_secs());
        figure(name, pair, Bound::AtMost(most))
    };
    super::slow::COUNTS.into_iter().zip(SLOW).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_tells_whether_it_is_within_its_bound_and_by_how_much_it_is_not() {
        let cells = |ours, bound| figure("f".to_owned(), [ours, 30.0], bound).cells();
        assert_eq!(cells(2.04, Bound::AtMost(2.0)), ["f", "30.0", "2.0", "14.7", "≤ 2.0", "met"]);
        assert_eq!(cells(3.5, Bound::AtMost(2.0))[5], "missed by 1.5");
        assert_eq!(
            cells(90.0, Bound::AtLeast(100.0)),
            ["f", "30.0", "90.0", "3.0", "≥ 100.0", "missed by 10.0"]
        );
        assert_eq!(figure("f".to_owned(), [1.0, f64::NAN], Bound::AtMost(2.0)).cells()[3], "–");
        let spread = Figure { give: Some(1.26), ..figure("f".to_owned(), [3.5, 30.0], Bound::AtMost(2.0)) };
        assert_eq!(spread.cells()[2], "3.5 ± 1.3");
    }
}
