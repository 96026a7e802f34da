//! What the cluster side counts, in Prometheus' text format.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use crate::kube::Shared;

/// Appends the metrics.
pub(crate) fn write(shared: &Shared, out: &mut String) {
    let lookups = shared.counters();
    let loaded = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut family = Family { out };
    family.begin("multus_lookups_total", "counter", "Objects looked up, by where the answer came from.");
    for (object, source, value) in [
        ("networkattachmentdefinition", "cache", loaded(&lookups.nads_cached)),
        ("networkattachmentdefinition", "api", loaded(&lookups.nads_live)),
        ("pod", "cache", loaded(&lookups.pods_cached)),
        ("pod", "api", loaded(&lookups.pods_live)),
    ] {
        family.value("multus_lookups_total", &format!("object=\"{object}\",source=\"{source}\""), value);
    }
    let (nads, pods) = (shared.nads(), shared.pods());
    family.begin("multus_cache_objects", "gauge", "Objects that the watch caches hold.");
    family.value("multus_cache_objects", "object=\"networkattachmentdefinition\"", nads.len());
    family.value("multus_cache_objects", "object=\"pod\"", pods.len());
    family.begin(
        "multus_cache_age_seconds",
        "gauge",
        "How long ago the watch caches began to be outdated; 0 while they are not.",
    );
    let age = |freshness: &crate::cache::Freshness| freshness.age().as_secs_f64();
    family.value("multus_cache_age_seconds", "object=\"networkattachmentdefinition\"", age(nads.freshness()));
    family.value("multus_cache_age_seconds", "object=\"pod\"", age(pods.freshness()));
    family.one(
        "multus_cache_left_out",
        "gauge",
        "NetworkAttachmentDefinitions that are too large to be held.",
        nads.left_out(),
    );
    family.one(
        "multus_pods_without_networks",
        "gauge",
        "Pods of this node whose status does not name a network that they ask for.",
        pods.lacking_count(),
    );
    drop((nads, pods));

    let records = shared.queue.counters();
    family.begin("multus_records_total", "counter", "Network status records, by what became of them.");
    for (ending, value) in [
        ("written", loaded(&records.written)),
        ("drained", loaded(&records.drained)),
        ("failed", loaded(&records.failed)),
        ("dropped", loaded(&records.dropped)),
    ] {
        family.value("multus_records_total", &format!("ending=\"{ending}\""), value);
    }
    family.one(
        "multus_records_under_way",
        "gauge",
        "Records that are being written.",
        shared.queue.under_way(),
    );
    family.one(
        "multus_spool_records",
        "gauge",
        "Records that wait in the spool.",
        records.waiting.load(Ordering::Relaxed),
    );
    let events = shared.queue.events();
    family.begin("multus_events_total", "counter", "Events on pods, by what became of them.");
    family.value("multus_events_total", "ending=\"posted\"", loaded(&events.posted));
    family.value("multus_events_total", "ending=\"dropped\"", loaded(&events.dropped));
    family.one("multus_events_waiting", "gauge", "Events that wait to be posted.", events.waiting());
}

pub(crate) struct Family<'a> {
    pub(crate) out: &'a mut String,
}

impl Family<'_> {
    // Writing to a String cannot fail.
    pub(crate) fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(crate) fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.out, "{name}{{{labels}}} {value}");
    }

    pub(crate) fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.begin(name, kind, help);
        let _ = writeln!(self.out, "{name} {value}");
    }
}
