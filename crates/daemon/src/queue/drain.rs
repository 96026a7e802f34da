//! Goes on with the records that wait in the spool.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use engine::{Level, Recorded, spool};
use kube_cluster::Error;
use spool::Waiting;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::arrivals::Arrivals;
use super::{Inner, Trouble, count};

/// How many are written at once.
const AT_ONCE: usize = 4;
/// One write's time.
const LIMIT: Duration = Duration::from_secs(10);
/// The spool is looked at this often, whether or not it is said that something arrived: its folder may have been replaced.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
const PAUSE_WHEN_BUSY: Duration = Duration::from_millis(100);
const PAUSE_WHEN_DENIED: Duration = Duration::from_secs(60);
/// A record that is refused, and not for want of a right: again after 1 s, 2 s, 4 s, … and never more often than this.
const LONGEST_PAUSE_OF_ONE: Duration = Duration::from_secs(300);
/// After some two hours of being refused it is given up.
const MOST_ATTEMPTS: u32 = 30;

/// Drains the spool for as long as it is polled.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut drain = Drain { inner, refused: HashMap::new(), pause: Duration::ZERO, busy: false };
    let mut arrivals = None;
    loop {
        if arrivals.is_none() {
            arrivals = match Arrivals::of(&drain.inner.spool) {
                Ok(arrivals) => Some(arrivals),
                Err(error) => {
                    drain.say(format_args!(
                        "spool {}: cannot be watched: {error}",
                        drain.inner.spool.display()
                    ));
                    None
                }
            };
        }
        // After the watch has begun, so that nothing falls between.
        drain.round().await;
        drain.wait(&mut arrivals).await;
    }
}

struct Drain {
    inner: Arc<Inner>,
    /// What was refused: how often, and when it is tried again.
    refused: HashMap<PathBuf, (u32, Instant)>,
    /// How long nothing is tried, because nothing can be written.
    pause: Duration,
    /// Whether somebody else was writing for a pod whose record waits.
    busy: bool,
}

/// What came of one record.
enum Outcome {
    Done(Recorded),
    /// The sandbox's DEL, or another record, was faster.
    Vanished,
    /// Another record of this pod is being written.
    Busy,
    Failed(Error),
    Unreadable(std::io::Error),
}

impl Drain {
    /// Makes what can be made now.
    async fn round(&mut self) {
        let Some(waiting) = self.list() else { return };
        let now = Instant::now();
        self.refused.retain(|path, _| waiting.iter().any(|found| found.path == *path));
        let due = |found: &Waiting| self.refused.get(&found.path).is_none_or(|(_, at)| *at <= now);
        let mut due = waiting.into_iter().filter(due).collect::<Vec<_>>().into_iter();
        let mut running = JoinSet::new();
        let mut trouble = None;
        self.busy = false;
        loop {
            while running.len() < AT_ONCE && trouble.is_none() {
                let Some(next) = due.next() else { break };
                running.spawn(attempt(Arc::clone(&self.inner), next));
            }
            let Some(finished) = running.join_next().await else { break };
            // A task ends early only when the runtime does.
            let Ok((found, outcome)) = finished else { break };
            trouble = self.settle(found, outcome).or(trouble);
        }
        self.pause = match trouble {
            None => Duration::ZERO,
            Some(Trouble::Denied) => PAUSE_WHEN_DENIED,
            Some(_) => (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE).mul_f64(jitter()),
        };
    }

    fn list(&self) -> Option<Vec<Waiting>> {
        let listed = match spool::list(&self.inner.spool) {
            Ok(listed) => listed,
            Err(error) => {
                self.say(format_args!("spool {}: {error}", self.inner.spool.display()));
                return None;
            }
        };
        let counters = &self.inner.counters;
        counters.waiting.store(listed.waiting.len(), Ordering::Relaxed);
        counters.dropped.fetch_add((listed.outdated + listed.unreadable.len()) as u64, Ordering::Relaxed);
        for (path, why) in listed.unreadable {
            self.say(format_args!("spool: removed {}: {why}", path.display()));
        }
        Some(listed.waiting)
    }

    /// Takes note of what came of one record. What it returns concerns all others as well.
    fn settle(&mut self, found: Waiting, outcome: Outcome) -> Option<Trouble> {
        let Waiting { path, namespace, name, .. } = found;
        let counters = &self.inner.counters;
        let error = match outcome {
            Outcome::Vanished => return None,
            Outcome::Busy => {
                self.busy = true;
                return None;
            }
            Outcome::Done(recorded) => {
                self.refused.remove(&path);
                counters.waiting.fetch_sub(1, Ordering::Relaxed);
                count(if recorded == Recorded::Written { &counters.drained } else { &counters.dropped });
                return None;
            }
            Outcome::Unreadable(error) => {
                self.say(format_args!("spool: {}: {error}", path.display()));
                return None;
            }
            Outcome::Failed(error) => error,
        };
        count(&counters.failed);
        let trouble = Trouble::from(&error);
        if matches!(trouble, Trouble::Away | Trouble::Denied) {
            if self.pause.is_zero() {
                self.say(format_args!("{namespace}/{name}: network status waits: {error}"));
            }
            return Some(trouble);
        }
        let (attempts, at) = self.refused.entry(path.clone()).or_insert((0, Instant::now()));
        *attempts += 1;
        let pause = Duration::from_secs(1 << (*attempts - 1).min(9)).min(LONGEST_PAUSE_OF_ONE);
        *at = Instant::now() + pause;
        let attempts = *attempts;
        if trouble == Trouble::Refused && attempts >= MOST_ATTEMPTS {
            self.refused.remove(&path);
            count(&counters.dropped);
            // Given up means removed; what cannot be removed is refused again.
            let _ = std::fs::remove_file(&path);
            self.say(format_args!(
                "{namespace}/{name}: network status is given up after {attempts} attempts: {error}"
            ));
        } else if attempts == 1 {
            self.say(format_args!("{namespace}/{name}: network status is refused, and tried again: {error}"));
        }
        None
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, arrivals: &mut Option<Arrivals>) {
        let woken = self.inner.woken.notified();
        if !self.pause.is_zero() {
            // What arrives meanwhile could not be written either.
            let _ = timeout(self.pause, woken).await;
            return;
        }
        let next_refused = self.refused.values().map(|(_, at)| *at).min();
        let limit = next_refused.map_or(LOOK_EVERY, |at| at.saturating_duration_since(Instant::now()));
        let longest = if self.busy { PAUSE_WHEN_BUSY } else { LOOK_EVERY };
        let limit = limit.max(Duration::from_millis(10)).min(longest);
        let Some(watched) = arrivals else {
            sleep(limit).await;
            return;
        };
        if let Ok(Some(Err(_))) = timeout(limit, either(watched.next(), woken)).await {
            *arrivals = None;
        }
    }

    fn say(&self, text: std::fmt::Arguments<'_>) {
        self.inner.log.line(Level::Error, text);
    }
}

async fn attempt(inner: Arc<Inner>, found: Waiting) -> (Waiting, Outcome) {
    let outcome = write(&inner, &found).await;
    (found, outcome)
}

async fn write(inner: &Arc<Inner>, found: &Waiting) -> Outcome {
    let deadline = Instant::now() + LIMIT;
    let record = match found.record() {
        Ok(Some(record)) => record,
        Ok(None) => return Outcome::Vanished,
        Err(error) => return Outcome::Unreadable(error),
    };
    // Whoever writes for this pod now has a newer record, which makes this one go.
    let Some(_turn) = inner.turn(&record.pod, Instant::now()).await else { return Outcome::Busy };
    let written = match &record.status {
        Some(status) => inner.api.write_status(&record.pod, status, deadline).await,
        None => Ok(Recorded::Written),
    };
    match written {
        Ok(recorded) => {
            if recorded == Recorded::Written {
                inner.events.push(&record.pod, record.events);
            }
            match found.done() {
                Ok(()) => Outcome::Done(recorded),
                Err(error) => Outcome::Unreadable(error),
            }
        }
        Err(error) => Outcome::Failed(error),
    }
}

/// From three quarters to the whole: nodes that lost the same server must not come back together.
fn jitter() -> f64 {
    1.0 - (RandomState::new().hash_one(0_u8) % 1000) as f64 / 4000.0
}

/// The first of two futures to be ready; nothing when it was the second.
async fn either<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> Option<T> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| match first.as_mut().poll(context) {
        Poll::Ready(ready) => Poll::Ready(Some(ready)),
        Poll::Pending => second.as_mut().poll(context).map(|()| None),
    })
    .await
}
