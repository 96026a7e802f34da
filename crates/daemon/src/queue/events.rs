//! Events: posted when there is time, within limits. Nobody waits for them, and one that is lost harms nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::{Level, PodRef};
use plan::PlanEvent;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Inner, count};

/// How many wait at most; of more the oldest go.
const MOST_WAITING: usize = 1024;
/// How many are posted at once.
const AT_ONCE: usize = 4;
/// One post's time, an API server that is away for a moment included.
const LIMIT: Duration = Duration::from_secs(30);
/// A pod's events that may come at once, as client-go has it. A pod that is tried again and again says the same again and again.
const BURST: u32 = 25;
/// How soon one more may come.
const REFILL: Duration = Duration::from_secs(60);
/// Of how many pods it is known how much they have said.
const MOST_BUDGETS: usize = 1024;

/// Which events are posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventMode {
    /// One for each interface, as upstream does.
    #[default]
    Each,
    /// One for all of a record's events of the same reason.
    Batched,
    /// None.
    Off,
}

impl EventMode {
    /// Reads `each`, `batched` or `off`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "each" => Some(Self::Each),
            "batched" => Some(Self::Batched),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

/// Events that wait.
pub(crate) struct Events {
    mode: EventMode,
    state: Mutex<State>,
    arrived: Notify,
    pub(crate) posted: AtomicU64,
    /// Beyond a limit, or not taken by the API server.
    pub(crate) dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(PodRef, PlanEvent)>,
    budgets: HashMap<(String, String), Budget>,
}

struct Budget {
    left: u32,
    since: Instant,
}

impl Events {
    pub(super) fn new(mode: EventMode) -> Self {
        let (posted, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { mode, state: Mutex::default(), arrived: Notify::new(), posted, dropped }
    }

    /// Takes a record's events.
    pub(crate) fn push(&self, pod: &PodRef, events: Vec<PlanEvent>) {
        let events = match self.mode {
            EventMode::Off => return,
            EventMode::Each => events,
            EventMode::Batched => batched(events),
        };
        if events.is_empty() {
            return;
        }
        let mut state = self.state();
        for event in events {
            if !state.may(pod, Instant::now()) {
                count(&self.dropped);
                continue;
            }
            if state.waiting.len() >= MOST_WAITING {
                state.waiting.pop_front();
                count(&self.dropped);
            }
            state.waiting.push_back((pod.clone(), event));
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing is left half done where it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether one more event of this pod is within its limit.
    fn may(&mut self, pod: &PodRef, now: Instant) -> bool {
        let refilled = |budget: &Budget| now.duration_since(budget.since).as_secs() / REFILL.as_secs();
        if self.budgets.len() >= MOST_BUDGETS {
            self.budgets.retain(|_, budget| u64::from(budget.left) + refilled(budget) < u64::from(BURST));
        }
        if self.budgets.len() >= MOST_BUDGETS {
            // So many pods that say too much: what each of them said is forgotten.
            self.budgets.clear();
        }
        let key = (pod.namespace.clone(), pod.name.clone());
        let budget = self.budgets.entry(key).or_insert(Budget { left: BURST, since: now });
        let more = u32::try_from(refilled(budget)).unwrap_or(BURST).min(BURST);
        if more > 0 {
            budget.left = (budget.left + more).min(BURST);
            budget.since = now;
        }
        let may = budget.left > 0;
        budget.left = budget.left.saturating_sub(1);
        may
    }
}

/// One event for all of the same kind and reason.
fn batched(events: Vec<PlanEvent>) -> Vec<PlanEvent> {
    let mut batched: Vec<PlanEvent> = Vec::new();
    for event in events {
        match batched.iter_mut().find(|b| b.kind == event.kind && b.reason == event.reason) {
            Some(first) => {
                first.message.push_str("; ");
                first.message.push_str(&event.message);
            }
            None => batched.push(event),
        }
    }
    batched
}

/// Posts what waits for as long as it is polled.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut running = JoinSet::new();
    let mut trouble = String::new();
    loop {
        while running.len() < AT_ONCE {
            let Some((pod, event)) = inner.events.state().waiting.pop_front() else { break };
            let inner = Arc::clone(&inner);
            running.spawn(async move {
                let posted = inner.api.post(&pod, &event, Instant::now() + LIMIT).await;
                count(if posted.is_ok() { &inner.events.posted } else { &inner.events.dropped });
                posted.map_err(|error| error.to_string())
            });
        }
        let Some(finished) = running.join_next().await else {
            inner.events.arrived.notified().await;
            continue;
        };
        match finished {
            Ok(Err(error)) if trouble.is_empty() => {
                inner.log.line(Level::Error, format_args!("events are lost: {error}"));
                trouble = error;
            }
            Ok(Ok(())) => trouble.clear(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use plan::EventKind;

    use super::*;

    fn pod(name: &str) -> PodRef {
        PodRef { namespace: "n".to_owned(), name: name.to_owned(), uid: None }
    }

    fn event(reason: &str, message: &str) -> PlanEvent {
        PlanEvent { kind: EventKind::Normal, reason: reason.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn one_pod_cannot_say_more_than_its_part_and_says_more_later() {
        let mut state = State::default();
        let now = Instant::now();
        let allowed = (0..100).filter(|_| state.may(&pod("a"), now)).count();
        assert_eq!(allowed, 25);
        assert!(state.may(&pod("b"), now));
        assert_eq!((0..100).filter(|_| state.may(&pod("a"), now + 3 * REFILL)).count(), 3);
        assert_eq!((0..100).filter(|_| state.may(&pod("a"), now + 3000 * REFILL)).count(), 25);
    }

    #[test]
    fn what_is_known_of_pods_is_bounded() {
        let mut state = State::default();
        let now = Instant::now();
        for number in 0..10_000 {
            assert!(state.may(&pod(&number.to_string()), now));
        }
        assert!(state.budgets.len() <= MOST_BUDGETS);
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_go() {
        let events = Events::new(EventMode::Each);
        for number in 0..MOST_WAITING + 10 {
            events.push(&pod(&number.to_string()), vec![event("R", "m")]);
        }
        assert_eq!(events.waiting(), MOST_WAITING);
        assert_eq!(events.state().waiting[0].0.name, "10");
        assert_eq!(events.dropped.load(std::sync::atomic::Ordering::Relaxed), 10);
    }

    #[test]
    fn events_of_one_reason_are_told_together_where_that_is_wanted() {
        let all = || vec![event("Added", "a"), event("Other", "x"), event("Added", "b")];
        let batched = Events::new(EventMode::Batched);
        batched.push(&pod("p"), all());
        let told: Vec<_> = batched.state().waiting.iter().map(|(_, event)| event.message.clone()).collect();
        assert_eq!(told, ["a; b", "x"]);
        let off = Events::new(EventMode::Off);
        off.push(&pod("p"), all());
        assert_eq!(off.waiting(), 0);
    }

    #[test]
    fn modes_are_read() {
        assert_eq!(EventMode::parse("each"), Some(EventMode::Each));
        assert_eq!(EventMode::parse("batched"), Some(EventMode::Batched));
        assert_eq!(EventMode::parse("off"), Some(EventMode::Off));
        assert_eq!(EventMode::parse("on"), None);
    }
}
