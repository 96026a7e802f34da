//! Goes on with the records that wait in the spool.

use std::collections::{HashMap, HashSet};
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
use spool::{Alone, Waiting};
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
/// A record that is refused: again after 1 s, 2 s, 4 s, … and at the latest after this.
const LONGEST_PAUSE_OF_ONE: Duration = Duration::from_secs(300);
/// After some two hours of being refused it is given up.
const MOST_ATTEMPTS: u32 = 30;

/// Drains the spool for as long as it is polled.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut drain = Drain {
        inner,
        refused: HashMap::new(),
        suspects: HashSet::new(),
        unread: HashSet::new(),
        pause: Duration::ZERO,
        away: false,
        again: false,
    };
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
    /// Namespaces of which the last one was not taken, for a reason that may be theirs or the server's. One of each is tried at a time.
    suspects: HashSet<String>,
    /// What could not be read, and was told.
    unread: HashSet<PathBuf>,
    /// How long nothing is tried, because nothing can be written.
    pause: Duration,
    /// Whether that is certain, and so for what arrives meanwhile.
    away: bool,
    /// Whether something was passed over that may be made at once: somebody else was writing for its pod, or others of its namespace
    /// were not taken.
    again: bool,
}

/// What is found out about the API server while records are made.
#[derive(Default)]
struct Round {
    /// Whether it has taken one.
    made: bool,
    /// What keeps all records from being made, whosever they are.
    away: Option<Trouble>,
    /// Suspect namespaces of which one has been tried.
    tried: HashSet<String>,
    /// Namespaces of which it has not taken one, and the last reason for that.
    failing: HashSet<String>,
    reason: Option<Trouble>,
}

impl Round {
    /// What is said about one record is about its namespace, as far as can be told, until the same is said in another and no record is
    /// taken at all.
    fn doubt(&self) -> Option<Trouble> {
        self.reason.filter(|_| self.failing.len() > 1 && !self.made)
    }
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
        self.again = false;
        let Some(_alone) = self.alone() else { return };
        let Some(waiting) = self.list() else { return };
        let now = Instant::now();
        self.refused.retain(|path, _| waiting.iter().any(|found| found.path == *path));
        self.suspects.retain(|namespace| waiting.iter().any(|found| found.namespace == *namespace));
        let due = |found: &Waiting| self.refused.get(&found.path).is_none_or(|(_, at)| *at <= now);
        let mut due = waiting.into_iter().filter(due).collect::<Vec<_>>().into_iter();
        let mut running = JoinSet::new();
        let mut round = Round::default();
        loop {
            while running.len() < AT_ONCE && round.away.is_none() {
                let Some(next) = due.next() else { break };
                let is_suspect = self.suspects.contains(&next.namespace);
                if is_suspect && !round.tried.insert(next.namespace.clone()) {
                    self.again = true;
                    continue;
                }
                running.spawn(attempt(Arc::clone(&self.inner), next));
            }
            let Some(finished) = running.join_next().await else { break };
            // A task ends early only when the runtime does.
            let Ok((found, outcome)) = finished else { break };
            self.settle(found, outcome, &mut round);
        }
        self.away = round.away.is_some();
        self.pause = match round.away.or(round.doubt()) {
            None => Duration::ZERO,
            Some(Trouble::Unknown | Trouble::Forbidden) => PAUSE_WHEN_DENIED,
            Some(_) => (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE).mul_f64(jitter()),
        };
    }

    /// While a daemon takes over from another, one of them makes records at a time.
    fn alone(&mut self) -> Option<Alone> {
        match spool::alone(&self.inner.spool) {
            Ok(Some(alone)) => Some(alone),
            Ok(None) => {
                self.again = true;
                None
            }
            Err(error) => {
                self.say(format_args!("spool {}: {error}", self.inner.spool.display()));
                None
            }
        }
    }

    fn list(&mut self) -> Option<Vec<Waiting>> {
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
        let told = std::mem::take(&mut self.unread);
        for (path, why) in listed.unread {
            if !told.contains(&path) {
                self.say(format_args!("spool: cannot read {}: {why}", path.display()));
            }
            self.unread.insert(path);
        }
        Some(listed.waiting)
    }

    /// Takes note of what came of one record.
    fn settle(&mut self, found: Waiting, outcome: Outcome, round: &mut Round) {
        let counters = &self.inner.counters;
        match outcome {
            Outcome::Vanished => {}
            Outcome::Busy => self.again = true,
            Outcome::Done(recorded) => {
                round.made = true;
                self.refused.remove(&found.path);
                self.suspects.remove(&found.namespace);
                counters.waiting.fetch_sub(1, Ordering::Relaxed);
                count(if recorded == Recorded::Written { &counters.drained } else { &counters.dropped });
            }
            Outcome::Unreadable(error) => {
                self.say(format_args!("spool: {}: {error}", found.path.display()));
            }
            Outcome::Failed(error) => {
                count(&counters.failed);
                self.failed(found, &error, round);
            }
        }
    }

    fn failed(&mut self, found: Waiting, error: &Error, round: &mut Round) {
        let trouble = Trouble::from(error);
        let pod = format!("{}/{}", found.namespace, found.name);
        if matches!(trouble, Trouble::Away | Trouble::Unknown) {
            if self.pause.is_zero() && round.away.is_none() {
                self.say(format_args!("{pod}: network status waits: {error}"));
            }
            round.away = Some(trouble);
            return;
        }
        found.put_off();
        let attempts = self.put_off(&found, trouble);
        match trouble {
            Trouble::Failing | Trouble::Forbidden => {
                round.reason = Some(trouble);
                round.tried.insert(found.namespace.clone());
                self.suspects.insert(found.namespace.clone());
                if round.failing.insert(found.namespace) && attempts == 1 {
                    self.say(format_args!("{pod}: network status waits: {error}"));
                }
            }
            Trouble::Refused if attempts >= MOST_ATTEMPTS => {
                self.refused.remove(&found.path);
                count(&self.inner.counters.dropped);
                // Given up means removed; what cannot be removed is refused again.
                let _ = found.done();
                self.say(format_args!(
                    "{pod}: network status is given up after {attempts} attempts: {error}"
                ));
            }
            _ if attempts == 1 => {
                self.say(format_args!("{pod}: network status is refused, and tried again: {error}"));
            }
            _ => {}
        }
    }

    /// Notes when a record is tried again. Returns how often it was tried.
    fn put_off(&mut self, found: &Waiting, trouble: Trouble) -> u32 {
        let longest = match trouble {
            Trouble::Failing => LONGEST_PAUSE,
            Trouble::Forbidden => PAUSE_WHEN_DENIED,
            _ => LONGEST_PAUSE_OF_ONE,
        };
        let (attempts, at) = self.refused.entry(found.path.clone()).or_insert((0, Instant::now()));
        *attempts += 1;
        *at = Instant::now() + Duration::from_secs(1 << (*attempts - 1).min(9)).min(longest);
        *attempts
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, arrivals: &mut Option<Arrivals>) {
        let woken = self.inner.woken.notified();
        if self.away {
            // What arrives meanwhile could not be written either.
            let _ = timeout(self.pause, woken).await;
            return;
        }
        let limit = if self.pause.is_zero() { self.until_next() } else { self.pause };
        let Some(watched) = arrivals else {
            sleep(limit).await;
            return;
        };
        if let Ok(Some(Err(_))) = timeout(limit, either(watched.next(), woken)).await {
            *arrivals = None;
        }
    }

    fn until_next(&self) -> Duration {
        if self.again {
            return PAUSE_WHEN_BUSY;
        }
        let next = self.refused.values().map(|(_, at)| *at).min();
        let limit = next.map_or(LOOK_EVERY, |at| at.saturating_duration_since(Instant::now()));
        limit.clamp(Duration::from_millis(10), LOOK_EVERY)
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
