//! What the server counts: its requests, under upstream's name and with upstream's labels, and how long they took.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;

use crate::metrics::Family;

/// Upper bounds of the histogram, in seconds: from what a cache answers to what the shim waits for.
const BOUNDS: [f64; 8] = [0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 5.0];

#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    requests: BTreeMap<(&'static str, u16, &'static str), u64>,
    durations: BTreeMap<&'static str, Histogram>,
}

#[derive(Debug, Default)]
struct Histogram {
    /// How many were at most each bound, and not at most the one before.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        if let Some(at) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[at] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }
}

impl Counts {
    /// Counts a request that was answered. The labels come from here alone: a client cannot make up new ones.
    pub(crate) fn request(&self, handler: &'static str, code: u16, method: &Method, took: Duration) {
        let method = match *method {
            Method::GET => "get",
            Method::POST => "post",
            _ => "other",
        };
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.requests.entry((handler, code, method)).or_default() += 1;
        counted.durations.entry(handler).or_default().observe(took.as_secs_f64());
    }

    pub(crate) fn write(&self, out: &mut String) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = Family { out };
        let name = "multus_server_request_total";
        family.begin(name, "counter", "Counter of HTTP requests");
        for ((handler, code, method), value) in &counted.requests {
            let labels = format!("code=\"{code}\",handler=\"{handler}\",method=\"{method}\"");
            family.value(name, &labels, value);
        }
        family.begin(
            "multus_server_request_duration_seconds",
            "histogram",
            "How long requests took, by handler.",
        );
        for (handler, histogram) in &counted.durations {
            let mut below = 0;
            for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
                below += count;
                let labels = format!("handler=\"{handler}\",le=\"{bound}\"");
                family.value("multus_server_request_duration_seconds_bucket", &labels, below);
            }
            let labels = format!("handler=\"{handler}\",le=\"+Inf\"");
            family.value("multus_server_request_duration_seconds_bucket", &labels, histogram.count);
            let labels = format!("handler=\"{handler}\"");
            family.value("multus_server_request_duration_seconds_sum", &labels, histogram.sum);
            family.value("multus_server_request_duration_seconds_count", &labels, histogram.count);
        }
    }
}
