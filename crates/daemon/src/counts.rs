//! What the server counts: its requests, under upstream's name and with upstream's labels; and what the calls of the shim came to.
//!
//! Labels are bounded: whatever clients send, there are not more series than [`MOST_SERIES`] of a family, nor longer values than
//! [`LONGEST_LABEL`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::Method;
use protocol::message::{Notice, PluginCall};

use crate::metrics::Family;

/// Upper bounds of the histograms, in seconds: from what a cache answers to what a runtime waits for.
const BOUNDS: [f64; 11] = [0.000_5, 0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0, 60.0];
/// How many networks, and plugin types, have series of their own.
const MOST_SERIES: usize = 256;
/// A network's namespace and name have 317 characters at most; a plugin's type is the name of a file.
const LONGEST_LABEL: usize = 320;
/// What all others are counted under.
const OTHER: &str = "other";
const VERBS: [&str; 5] = ["ADD", "DEL", "CHECK", "STATUS", "GC"];

#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    requests: BTreeMap<(&'static str, u16, &'static str), u64>,
    request_durations: BTreeMap<&'static str, Histogram>,
    calls: BTreeMap<(&'static str, u32), u64>,
    call_durations: BTreeMap<&'static str, Histogram>,
    plugins: BTreeMap<PluginKey, u64>,
    plugin_durations: BTreeMap<(String, &'static str), Histogram>,
}

/// Network, type, verb and code.
type PluginKey = (String, String, &'static str, u32);

#[derive(Debug, Default)]
struct Histogram {
    /// How many were at most each bound, and not at most the one before.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(at) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[at] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn write(&self, family: &mut Family<'_>, name: &str, labels: &str) {
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(self.buckets) {
            below += count;
            family.value(&format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), below);
        }
        family.value(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), self.count);
        family.value(&format!("{name}_sum"), labels, self.sum);
        family.value(&format!("{name}_count"), labels, self.count);
    }
}

impl Counts {
    /// Counts a request that was answered. The labels come from here alone: a client cannot make up new ones.
    pub(crate) fn request(&self, handler: &'static str, code: u16, method: &Method, took: Duration) {
        let method = match *method {
            Method::GET => "get",
            Method::POST => "post",
            _ => OTHER,
        };
        let mut counted = self.counted();
        *counted.requests.entry((handler, code, method)).or_default() += 1;
        counted.request_durations.entry(handler).or_default().observe(took);
    }

    /// Counts a call of the shim.
    pub(crate) fn notice(&self, notice: &Notice) {
        let mut counted = self.counted();
        let verb = verb(&notice.verb);
        bounded(&mut counted.calls, (verb, notice.code.unwrap_or_default()), (verb, u32::MAX), |calls| {
            *calls += 1
        });
        counted.call_durations.entry(verb).or_default().observe(Duration::from_micros(notice.micros));
        notice.plugins.iter().for_each(|plugin| counted.plugin(plugin));
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, out: &mut String) {
        let counted = self.counted();
        let mut family = Family { out };
        let name = "multus_server_request_total";
        family.begin(name, "counter", "Counter of HTTP requests");
        for ((handler, code, method), value) in &counted.requests {
            family.value(name, &format!("code=\"{code}\",handler=\"{handler}\",method=\"{method}\""), value);
        }
        let name = "multus_server_request_duration_seconds";
        family.begin(name, "histogram", "How long requests took, by handler.");
        for (handler, histogram) in &counted.request_durations {
            histogram.write(&mut family, name, &format!("handler=\"{handler}\""));
        }
        counted.write_calls(&mut family);
        counted.write_plugins(&mut family);
    }
}

impl Counted {
    fn plugin(&mut self, plugin: &PluginCall) {
        let verb = verb(&plugin.verb);
        let code = plugin.code.unwrap_or_default();
        let (network, plugin_type) = (label(&plugin.network), label(&plugin.plugin_type));
        let key = (network.to_owned(), plugin_type.to_owned(), verb, code);
        let other = (OTHER.to_owned(), OTHER.to_owned(), verb, 0);
        bounded(&mut self.plugins, key, other, |calls| *calls += 1);
        let took = Duration::from_micros(plugin.micros);
        let (key, other) = ((plugin_type.to_owned(), verb), (OTHER.to_owned(), verb));
        bounded(&mut self.plugin_durations, key, other, |histogram: &mut Histogram| histogram.observe(took));
    }

    fn write_calls(&self, family: &mut Family<'_>) {
        let name = "multus_calls_total";
        family.begin(name, "counter", "CNI calls of this node's shim, by their end; code 0 is success.");
        for ((verb, code), value) in &self.calls {
            family.value(name, &format!("code=\"{code}\",verb=\"{verb}\""), value);
        }
        let name = "multus_call_duration_seconds";
        family.begin(name, "histogram", "How long CNI calls took, their plugins included.");
        for (verb, histogram) in &self.call_durations {
            histogram.write(family, name, &format!("verb=\"{verb}\""));
        }
    }

    fn write_plugins(&self, family: &mut Family<'_>) {
        let name = "multus_plugin_calls_total";
        family.begin(name, "counter", "Plugins that were run, by network and type; code 0 is success.");
        for ((network, plugin_type, verb, code), value) in &self.plugins {
            let (network, plugin_type) = (escaped(network), escaped(plugin_type));
            let labels =
                format!("code=\"{code}\",network=\"{network}\",type=\"{plugin_type}\",verb=\"{verb}\"");
            family.value(name, &labels, value);
        }
        let name = "multus_plugin_duration_seconds";
        family.begin(name, "histogram", "How long plugins ran, by type.");
        for ((plugin_type, verb), histogram) in &self.plugin_durations {
            histogram.write(family, name, &format!("type=\"{}\",verb=\"{verb}\"", escaped(plugin_type)));
        }
    }
}

/// Changes the value of `key`, or that of `other` where there is no room for another key.
fn bounded<K: Ord, V: Default>(map: &mut BTreeMap<K, V>, key: K, other: K, change: impl FnOnce(&mut V)) {
    let has_room = map.len() < MOST_SERIES || map.contains_key(&key);
    change(map.entry(if has_room { key } else { other }).or_default());
}

fn verb(text: &str) -> &'static str {
    VERBS.into_iter().find(|verb| *verb == text).unwrap_or(OTHER)
}

fn label(text: &str) -> &str {
    if text.len() <= LONGEST_LABEL { text } else { OTHER }
}

/// A label's value as Prometheus' text format writes it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
