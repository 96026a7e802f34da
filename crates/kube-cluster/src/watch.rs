//! List and watch: what is there, and from then on what changes.
//!
//! A list comes in pages and is cut into objects while it arrives; then a watch goes on from the list's resource version, with
//! bookmarks, so that one that ended is taken up where it was. Only when the server has forgotten that version (410) is
//! everything listed again. What fails is told and tried again, at growing and random distances, for as long as somebody wants to know.
//!
//! [`Watch`] is for callers that are not asynchronous; start reading at [`Event`] and `follow`.

pub mod stream;

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::client::{Client, METADATA, METADATA_LIST, Request, query_value};
use crate::session::Session;
use crate::{Error, Source};
use stream::{Items, Kind, Lines, Page, Piece};

/// etcd stores no object above 1.5 MiB, and it grows somewhat as JSON.
const LARGEST_OBJECT: usize = 3 << 20;
/// client-go's page.
const PAGE: usize = 500;
/// A list or watch that sends nothing for this long while it should is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a watch may last; the server ends it after a random time in this range, so that not all nodes come back at once.
const WATCH_SECONDS: std::ops::Range<u64> = 290..580;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Somebody has to change a role first.
const PAUSE_WHEN_DENIED: Duration = Duration::from_secs(60);
/// A watch that lasted this long shows that the server is well.
const STEADY: Duration = Duration::from_secs(10);
/// How many events wait for a slow caller before the server has to.
const QUEUE: usize = 64;

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The collection's path: `/apis/apps/v1/namespaces/kube-system/daemonsets`.
    path: String,
    /// For error texts: `daemonsets in kube-system`.
    what: String,
    field_selector: Option<String>,
    metadata_only: bool,
    exact: bool,
}

impl Watched {
    /// All objects of the collection at `path`, called `what` in errors.
    #[must_use]
    pub fn all(path: impl Into<String>, what: impl Into<String>) -> Self {
        let (path, what) = (path.into(), what.into());
        Self { path, what, field_selector: None, metadata_only: false, exact: false }
    }

    /// The one that is called `name`. A role that names it by `resourceNames` is enough.
    ///
    /// Its list is read from storage, not from a cache that may not have seen it yet: that it is absent is a reason to act.
    #[must_use]
    pub fn object(path: impl Into<String>, what: impl Into<String>, name: &str) -> Self {
        Self { exact: true, ..Self::all(path, what).selected(format!("metadata.name={name}")) }
    }

    /// Those that the field selector fits.
    #[must_use]
    pub fn selected(self, field_selector: impl Into<String>) -> Self {
        Self { field_selector: Some(field_selector.into()), ..self }
    }

    /// Only their metadata, which halves what the server sends.
    #[must_use]
    pub fn metadata_only(self) -> Self {
        Self { metadata_only: true, ..self }
    }

    /// What it is called in errors.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    fn list(&self, page: &str, exact: bool) -> Request {
        let mut path = format!("{}?limit={PAGE}", self.path);
        match (page, exact) {
            // Any version that the server has at hand: thousands of nodes that start must not read from its storage.
            ("", false) => path.push_str("&resourceVersion=0"),
            ("", true) => {}
            (page, _) => path.push_str(&format!("&continue={}", query_value(page))),
        }
        self.request("list", path, METADATA_LIST)
    }

    fn watch(&self, version: &str) -> Request {
        let seconds = WATCH_SECONDS.start + random() % (WATCH_SECONDS.end - WATCH_SECONDS.start);
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
            self.path,
            query_value(version)
        );
        self.request("watch", path, METADATA)
    }

    fn request(&self, verb: &str, mut path: String, metadata: &'static str) -> Request {
        if let Some(selector) = &self.field_selector {
            path.push_str(&format!("&fieldSelector={}", query_value(selector)));
        }
        let request = Request::get(format!("{verb} {}", self.what), path);
        if self.metadata_only { Request { accept: metadata, ..request } } else { request }
    }
}

/// What a watch tells.
#[derive(Debug)]
pub enum Event<T> {
    /// A list begins. What is not [`Found`](Self::Found) until it is [`Complete`](Self::Complete) does not exist any more.
    Listing,
    /// This object exists: it was listed, is new, or changed.
    Found(T),
    /// It does not any more.
    Gone(T),
    /// The list that began is complete.
    Complete,
    /// What was told is what the server knows now: a watch has begun, or says that nothing else happened.
    Current,
    /// An object that is too large or cannot be read was passed over, for this reason. Where that was a change, all is listed again,
    /// since whose it is cannot be said.
    PassedOver(String),
    /// The server cannot be asked now, or does not let us. It is tried again; what was told until now may be outdated meanwhile.
    Lost(Error),
}

/// Tells `sink` what there is and what changes, until `sink` breaks.
pub(crate) async fn follow<T: DeserializeOwned>(
    client: &Client,
    watched: &Watched,
    mut sink: impl FnMut(Event<T>) -> ControlFlow<()>,
) {
    let mut pause = FIRST_PAUSE;
    let mut state = State { version: String::new(), exact: watched.exact };
    loop {
        let started = Instant::now();
        let ended = round(client, watched, &mut state, &mut sink).await;
        if started.elapsed() >= STEADY {
            pause = FIRST_PAUSE;
        }
        let mut longest = LONGEST_PAUSE;
        let told = match ended {
            Ok(Ended::Unwanted) => return,
            // The server ends watches by itself. One that ends at once is no reason to ask again at once.
            Ok(Ended::Over) if started.elapsed() >= STEADY => continue,
            Ok(Ended::Over) => ControlFlow::Continue(()),
            Err(error) => {
                if matches!(error, Error::Config { .. } | Error::Denied { .. }) {
                    // A new authority, a renewed certificate. What cannot be read stays as it was.
                    let _ = client.read_again().await;
                }
                if error.code() == Some(403) {
                    longest = PAUSE_WHEN_DENIED;
                }
                sink(Event::Lost(error))
            }
        };
        if told.is_break() {
            return;
        }
        // From half of it on: nodes that lost the same server must not come back together.
        sleep(pause.mul_f64(0.5 + (random() % 1000) as f64 / 2000.0)).await;
        pause = (pause * 2).min(longest);
    }
}

struct State {
    /// From where the watch goes on; empty when all has to be listed.
    version: String,
    /// Whether the next list has to come from storage.
    exact: bool,
}

enum Ended {
    /// The server ended the watch as it should.
    Over,
    /// Nobody wants to know more.
    Unwanted,
}

/// A list, where one is needed, and one watch.
async fn round<T: DeserializeOwned>(
    client: &Client,
    watched: &Watched,
    state: &mut State,
    sink: &mut impl FnMut(Event<T>) -> ControlFlow<()>,
) -> Result<Ended, Error> {
    if state.version.is_empty() {
        match list(client, watched, state.exact, sink).await? {
            ControlFlow::Continue(version) => state.version = version,
            ControlFlow::Break(()) => return Ok(Ended::Unwanted),
        }
    }
    let ended = watch(client, watched, &mut state.version, sink).await;
    if matches!(ended, Err(Error::Refused { code: 410, .. })) {
        // The server's cache may be as old as what it has just called too old; its storage is not.
        *state = State { version: String::new(), exact: true };
        return Ok(Ended::Over);
    }
    ended
}

async fn list<T: DeserializeOwned>(
    client: &Client,
    watched: &Watched,
    exact: bool,
    sink: &mut impl FnMut(Event<T>) -> ControlFlow<()>,
) -> Result<ControlFlow<(), String>, Error> {
    let mut flow = sink(Event::Listing);
    let mut next = String::new();
    loop {
        let request = watched.list(&next, exact);
        let mut body = client.open(&request).await?;
        let mut items = Items::new(LARGEST_OBJECT);
        while let Some(bytes) = chunk(&mut body, &request, SILENCE).await? {
            items
                .feed(&bytes, &mut |piece| {
                    tell(piece, Kind::Changed, sink, &mut flow);
                })
                .map_err(|reason| unreadable(&request, &reason))?;
            if flow.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let Page { resource_version, next: token } =
            items.finish().map_err(|reason| unreadable(&request, &reason))?;
        if token.is_empty() {
            return Ok(match sink(Event::Complete) {
                ControlFlow::Continue(()) => ControlFlow::Continue(resource_version),
                ControlFlow::Break(()) => ControlFlow::Break(()),
            });
        }
        next = token;
    }
}

async fn watch<T: DeserializeOwned>(
    client: &Client,
    watched: &Watched,
    version: &mut String,
    sink: &mut impl FnMut(Event<T>) -> ControlFlow<()>,
) -> Result<Ended, Error> {
    let request = watched.watch(version);
    let mut body = client.open(&request).await?;
    let silence = Duration::from_secs(WATCH_SECONDS.end) + SILENCE;
    let mut lines = Lines::new(LARGEST_OBJECT);
    let mut position = Position::default();
    let mut flow = sink(Event::Current);
    let mut failed = None;
    let ended = loop {
        if flow.is_break() {
            break Ok(Ended::Unwanted);
        }
        if let Some(error) = failed.take() {
            break Err(error);
        }
        match chunk(&mut body, &request, silence).await {
            Err(error) => break Err(error),
            Ok(None) => break Ok(Ended::Over),
            Ok(Some(bytes)) => lines.feed(&bytes, &mut |line| {
                if failed.is_none() {
                    failed = take(line, &request, &mut position, sink, &mut flow).err();
                }
            }),
        }
    };
    if let Some(reached) = position.version() {
        *version = reached;
    }
    ended
}

/// Takes one line of a watch.
fn take<T: DeserializeOwned>(
    line: Piece<'_>,
    request: &Request,
    position: &mut Position,
    sink: &mut impl FnMut(Event<T>) -> ControlFlow<()>,
    flow: &mut ControlFlow<()>,
) -> Result<(), Error> {
    let event = match line {
        Piece::Whole(line) => stream::event(line),
        Piece::TooLarge(bytes) => Err(format!("a change of {bytes} bytes is too large")),
    };
    let (kind, object) = match event {
        Ok(event) => event,
        Err(reason) => {
            // Whose it is cannot be said, so what was told of it cannot be corrected but by listing everything again.
            if flow.is_continue() {
                *flow = sink(Event::PassedOver(reason.clone()));
            }
            return Err(outdated(request, &reason));
        }
    };
    match kind {
        Kind::Error => {
            let (code, message) = stream::status(object);
            return Err(crate::client::told(request, code, message));
        }
        Kind::Bookmark if flow.is_continue() => *flow = sink(Event::Current),
        Kind::Bookmark => {}
        Kind::Changed | Kind::Deleted => {
            if !tell(Piece::Whole(object), kind, sink, flow) {
                return Err(outdated(request, "a change could not be read"));
            }
        }
    }
    position.reached(object);
    Ok(())
}

/// Tells of an object; whether it could be read.
fn tell<T: DeserializeOwned>(
    piece: Piece<'_>,
    kind: Kind,
    sink: &mut impl FnMut(Event<T>) -> ControlFlow<()>,
    flow: &mut ControlFlow<()>,
) -> bool {
    if flow.is_break() {
        return true;
    }
    let event = match piece {
        Piece::TooLarge(bytes) => Event::PassedOver(format!("an object of {bytes} bytes is too large")),
        Piece::Whole(object) => match serde_json::from_slice(object) {
            Ok(object) if kind == Kind::Deleted => Event::Gone(object),
            Ok(object) => Event::Found(object),
            Err(error) => Event::PassedOver(format!("an object cannot be read: {}", engine::discreet(error))),
        },
    };
    let read = !matches!(event, Event::PassedOver(_));
    *flow = sink(event);
    read
}

/// How far a watch has come: the last object that it told of. Its version is wanted once in minutes, so it is read then.
#[derive(Default)]
struct Position {
    object: Vec<u8>,
    version: Option<String>,
}

/// Larger objects are not kept for their version alone.
const KEPT_OBJECT: usize = 16 << 10;

impl Position {
    fn reached(&mut self, object: &[u8]) {
        self.object.clear();
        if object.len() <= KEPT_OBJECT {
            self.object.extend_from_slice(object);
        } else if let Ok(version) = stream::resource_version(object) {
            self.version = Some(version);
        }
    }

    fn version(self) -> Option<String> {
        if self.object.is_empty() {
            return self.version;
        }
        // An object without a version was no Kubernetes object: what it told may be anything, and all is listed again.
        Some(stream::resource_version(&self.object).unwrap_or_default())
    }
}

async fn chunk(body: &mut Incoming, request: &Request, silence: Duration) -> Result<Option<Bytes>, Error> {
    loop {
        let frame = match timeout(silence, body.frame()).await {
            Err(_) => {
                return Err(Error::unavailable(&request.attempt, format!("nothing came for {silence:?}")));
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => {
                return Err(Error::unavailable(&request.attempt, crate::connection::with_causes(&error)));
            }
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

fn unreadable(request: &Request, reason: &str) -> Error {
    Error::unavailable(&request.attempt, format!("the answer cannot be read: {reason}"))
}

/// The watch cannot go on from where it is.
fn outdated(request: &Request, message: &str) -> Error {
    Error::Refused { attempt: request.attempt.clone(), code: 410, message: message.to_owned() }
}

/// Good enough to keep nodes apart.
fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// A watch for callers that are not asynchronous: it runs in a thread, and ends when it is dropped.
#[derive(Debug)]
pub struct Watch<T> {
    // Dropped first, so that a thread that waits for room in the queue goes on to its end.
    events: Receiver<Event<T>>,
    _session: Session,
}

impl<T: DeserializeOwned + Send + 'static> Watch<T> {
    /// Starts it. Nothing is sent before this returns.
    ///
    /// # Errors
    /// When `source` cannot be used, or no thread be started.
    pub fn start(source: Source, watched: Watched) -> Result<Self, Error> {
        let session = Session::start(source)?;
        let (tell, events) = sync_channel(QUEUE);
        session.watch(watched, move |event| match tell.send(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        Ok(Self { events, _session: session })
    }

    /// The next event, waited for until `limit` has passed.
    #[must_use]
    pub fn next_within(&self, limit: Duration) -> Option<Event<T>> {
        self.events.recv_timeout(limit).ok()
    }
}
