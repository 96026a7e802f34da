//! Watches: what changed since a resource version, one line of JSON for each change.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout_at;

use super::store::{Answer, Collection};
use super::{Request, Shared, State, lock};

/// Changes that are kept for watches that begin before them; a real server keeps five minutes of them.
const KEPT: usize = 20_000;

/// What changed, oldest first.
#[derive(Default)]
pub(super) struct Log {
    changes: VecDeque<Change>,
    /// Watches from before this version are told to list again.
    oldest: u64,
}

struct Change {
    version: u64,
    kind: &'static str,
    collection: &'static str,
    object: Value,
}

impl Log {
    pub(super) fn push(
        &mut self,
        version: u64,
        kind: &'static str,
        collection: &'static str,
        object: &Value,
    ) {
        self.changes.push_back(Change { version, kind, collection, object: object.clone() });
        while self.changes.len() > KEPT {
            self.oldest = self.changes.pop_front().map_or(self.oldest, |change| change.version);
        }
    }

    pub(super) fn expire(&mut self, version: u64) {
        self.oldest = version;
    }
}

/// One watch, wherever its lines are written to.
pub(super) struct Feed {
    collection: Collection,
    metadata_only: bool,
    version: u64,
    until: Instant,
    over: bool,
    /// Ends watches that began before [`FakeApi::end_watches`](super::FakeApi::end_watches).
    generation: u64,
}

impl Feed {
    /// The watch that `request` asks for; `None` when it asks for none.
    pub(super) fn of(shared: &Shared, request: &Request) -> Option<Result<Self, Answer>> {
        let query = request.query_values();
        if request.method != "GET" || !matches!(query.get("watch").map(String::as_str), Some("true" | "1")) {
            return None;
        }
        // As servers answer whose WatchList feature is off; Go's clients list first then.
        if query.contains_key("sendInitialEvents") {
            let why = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden \
                       for watch unless the WatchList feature gate is enabled";
            return Some(Err(Answer::status(422, "Invalid", why)));
        }
        let state = lock(shared);
        let Some(collection) = Collection::of(request) else {
            return Some(Err(Answer::unknown()));
        };
        let version = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let seconds = query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(1800);
        Some(Ok(Self {
            collection,
            metadata_only: request.wants_metadata(),
            version,
            until: Instant::now() + Duration::from_secs(seconds),
            over: false,
            generation: state.watch_generation,
        }))
    }

    /// The next line, waited for; `None` at the watch's end.
    pub(super) async fn next(&mut self, shared: &Shared) -> Option<Vec<u8>> {
        loop {
            // Made before the look, so that no change falls between the two.
            let changed = shared.changed.notified();
            match self.look(&lock(shared)) {
                Look::Line(line) => return Some(line),
                Look::Over => return None,
                Look::Nothing => {}
            }
            timeout_at(self.until.into(), changed).await.ok()?;
        }
    }

    fn look(&mut self, state: &State) -> Look {
        if self.over || Instant::now() >= self.until || state.watch_generation != self.generation {
            return Look::Over;
        }
        if self.version < state.store.log.oldest {
            self.over = true;
            let message = format!("too old resource version: {} ({})", self.version, state.store.log.oldest);
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                "message": message, "reason": "Expired", "code": 410});
            return Look::Line(line("ERROR", &status));
        }
        let from = state.store.log.changes.partition_point(|change| change.version <= self.version);
        for change in state.store.log.changes.range(from..) {
            self.version = change.version;
            if let Some(line) = self.tell(change) {
                return Look::Line(line);
            }
        }
        Look::Nothing
    }

    /// A change as this watch tells it; `None` for those that it is not about.
    fn tell(&self, change: &Change) -> Option<Vec<u8>> {
        if change.kind == "RAW" {
            return Some(change.object.as_str().unwrap_or_default().as_bytes().to_vec());
        }
        if change.kind == "BOOKMARK" {
            let bookmark = json!({"kind": self.collection.kind, "apiVersion": self.collection.api_version,
                                  "metadata": {"resourceVersion": change.version.to_string()}});
            return Some(line("BOOKMARK", &bookmark));
        }
        if change.collection != self.collection.plural || !self.collection.selects(&change.object) {
            return None;
        }
        if self.metadata_only {
            return Some(line(change.kind, &super::store::metadata_of(&change.object)));
        }
        Some(line(change.kind, &change.object))
    }
}

/// What a watch finds when it looks.
enum Look {
    Line(Vec<u8>),
    Nothing,
    Over,
}

fn line(kind: &str, object: &Value) -> Vec<u8> {
    // The type first, as a real server writes it; a map would be sorted.
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into_bytes()
}
