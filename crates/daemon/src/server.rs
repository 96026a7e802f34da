//! The server on the socket: every call bounded in size, number and time, whatever a client does.
//!
//! | call | answer |
//! |---|---|
//! | `POST /v1/lookup`, `POST /v1/record` | the shim's ([`v1`]) |
//! | `GET /healthz` | 200: it lives |
//! | `GET /readyz` | 200 with [`instance()`], or 503 with the reason: whether lookups can be answered |
//! | `GET /metrics` | Prometheus' text |
//! | `POST /cni`, `POST /delegate` | upstream's shim and its hot-plug controller ([`upstream`]) |
//!
//! The same server answers the first three of the `GET`s on a TCP port, where one is configured; nothing else is to be had there.

mod budget;
mod reply;
mod upstream;
mod v1;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::Level;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use protocol::message::{Failure, FailureKind};
use protocol::upstream::{CNI, DELEGATE};
use protocol::{LARGEST_NOTICE, LARGEST_REQUEST, LOOKUP, RECORD, Versions};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::SharedLog;
use crate::backend::Backend;
use crate::counts::Counts;
use crate::metrics::Family;
use budget::Budget;
use reply::{Held, Reply};

/// How many connections may be open at once; the rest wait in the kernel's queue. A node starts far fewer pods at once.
const MOST_CONNECTIONS: usize = 128;
/// How long a client may take to send the head of its request, and then the body.
const SENDING: Duration = Duration::from_secs(5);
/// How long a connection may live; longer than any call may take.
const CONNECTION: Duration = Duration::from_secs(45);
/// What all calls together may hold of requests and answers.
const BUDGET: usize = 16 << 20;

/// What differs between installations, and between this program and another version of it.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// What this program calls itself in its answers.
    pub program: String,
    /// The protocol's versions that it speaks.
    pub versions: Versions,
    /// How many lookups and records are worked on at once (upstream's `connectionLimit`); the rest wait for their turn.
    pub calls_at_once: Option<usize>,
    /// Where the journals of sandboxes are, where this process can see them.
    pub cni_dir: Option<PathBuf>,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// The socket, which only root on this node reaches.
    Socket,
    /// A TCP port, which anybody may reach.
    Port,
}

/// The server.
pub struct Server<B> {
    backend: B,
    log: SharedLog,
    options: ServerOptions,
    calls: Semaphore,
    connections: Arc<Semaphore>,
    budget: Budget,
    counts: Counts,
    told_of_strangers: AtomicBool,
    running: Mutex<JoinSet<()>>,
}

impl<B: Backend> Server<B> {
    /// A server in front of `backend`.
    #[must_use]
    pub fn new(backend: B, options: ServerOptions, log: SharedLog) -> Arc<Self> {
        Arc::new(Self {
            backend,
            log,
            calls: Semaphore::new(options.calls_at_once.unwrap_or(MOST_CONNECTIONS)),
            options,
            connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            budget: Budget::new(BUDGET),
            counts: Counts::default(),
            told_of_strangers: AtomicBool::new(false),
            running: Mutex::default(),
        })
    }

    /// What stands behind it.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Answers whoever connects to `listener`, until dropped; connections that are open then go on.
    pub async fn serve_socket(self: &Arc<Self>, listener: &tokio::net::UnixListener) {
        loop {
            // A slot first: whoever is not served yet waits in the kernel's queue and costs nothing here.
            let Ok(slot) = Arc::clone(&self.connections).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) if self.may_call(&stream) => self.begin(stream, Door::Socket, slot),
                // Hung up on without a word: what it would have sent is not even read.
                Ok(_) => {}
                Err(error) => self.not_accepted(&error).await,
            }
        }
    }

    /// Whether root is at the other end, or this process's own user. The folder lets nobody else in; this is for one whose modes
    /// somebody has changed.
    fn may_call(&self, stream: &tokio::net::UnixStream) -> bool {
        let own = rustix::process::geteuid().as_raw();
        let uid = match stream.peer_cred() {
            Ok(peer) if peer.uid() == 0 || peer.uid() == own => return true,
            Ok(peer) => peer.uid().to_string(),
            Err(error) => error.to_string(),
        };
        // Once: whoever is refused may come back as often as he likes.
        if !self.told_of_strangers.swap(true, Ordering::Relaxed) {
            self.log.line(
                Level::Error,
                format_args!(
                    "a process of user {uid} was refused at the socket; who let it into the folder?"
                ),
            );
        }
        false
    }

    /// The same on a TCP port, for `GET` of metrics and health alone.
    pub async fn serve_port(self: &Arc<Self>, listener: &tokio::net::TcpListener) {
        // Of its own: what comes over the network does not take the shim's places.
        let slots = Arc::new(Semaphore::new(16));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => self.begin(stream, Door::Port, slot),
                Err(error) => self.not_accepted(&error).await,
            }
        }
    }

    /// Counts what calls of the shim came to, until dropped.
    pub async fn count_notices(&self, arriving: &tokio::net::UnixDatagram) {
        let mut text = vec![0; LARGEST_NOTICE];
        loop {
            match arriving.recv(&mut text).await {
                // What is no notice was sent by somebody who may do anything here anyway.
                Ok(size) => {
                    if let Ok(notice) = serde_json::from_slice(&text[..size]) {
                        self.counts.notice(&notice);
                    }
                }
                Err(error) => self.not_accepted(&error).await,
            }
        }
    }

    /// Waits for the calls that are going on, no longer than `patience`.
    pub async fn drain(&self, patience: Duration) {
        let mut running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = timeout(patience, async { while running.join_next().await.is_some() {} }).await;
    }

    async fn not_accepted(&self, error: &std::io::Error) {
        self.log.line(Level::Error, format_args!("cannot accept a connection: {error}"));
        // Out of descriptors, or memory: at once it would be the same again.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    fn begin<S>(self: &Arc<Self>, stream: S, door: Door, slot: tokio::sync::OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = Arc::clone(self);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            let _slot = slot;
            let service = service_fn(|request| {
                let server = Arc::clone(&server);
                async move { Ok::<_, std::convert::Infallible>(server.answer(request, door).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(SENDING)
                .keep_alive(false)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away, or speaks no HTTP, is its own business.
            let _ = timeout(CONNECTION, connection).await;
        });
    }

    async fn answer(&self, request: Request<Incoming>, door: Door) -> Response<Held> {
        let began = Instant::now();
        let method = request.method().clone();
        let (handler, reply) = match door {
            Door::Socket => self.at_socket(request).await,
            Door::Port => self.at_port(&request),
        };
        self.counts.request(handler, reply.status, &method, began.elapsed());
        reply.into_response()
    }

    async fn at_socket(&self, request: Request<Incoming>) -> (&'static str, Reply) {
        let path = request.uri().path().to_owned();
        let post = request.method() == Method::POST;
        match path.as_str() {
            LOOKUP if post => (LOOKUP, self.with_body(request, v1::lookup).await),
            RECORD if post => (RECORD, self.with_body(request, v1::record).await),
            CNI if post => (CNI, self.with_body(request, upstream::cni).await),
            DELEGATE if post => (DELEGATE, upstream::delegate()),
            LOOKUP | RECORD => (if path == LOOKUP { LOOKUP } else { RECORD }, Reply::wrong_method()),
            CNI | DELEGATE => (if path == CNI { CNI } else { DELEGATE }, Reply::wrong_method()),
            _ => self.open_to_all(&request),
        }
    }

    fn at_port(&self, request: &Request<Incoming>) -> (&'static str, Reply) {
        self.open_to_all(request)
    }

    /// What tells nothing that matters and changes nothing.
    fn open_to_all(&self, request: &Request<Incoming>) -> (&'static str, Reply) {
        let handler = match request.uri().path() {
            "/healthz" => "/healthz",
            "/readyz" => "/readyz",
            "/metrics" => "/metrics",
            path => {
                let reason = format!("there is no {path:?}");
                return ("NotFound", self.failure(FailureKind::Malformed, "", reason).with_status(404));
            }
        };
        // Upstream's shim asks for its health by POST.
        if !matches!(*request.method(), Method::GET | Method::POST) {
            return (handler, Reply::wrong_method());
        }
        let reply = match handler {
            "/healthz" => Reply::empty(),
            "/readyz" => match self.backend.ready() {
                Ok(()) => Reply::text(200, format!("{}\n", instance())),
                Err(why) => Reply::text(503, format!("{why}\n")),
            },
            _ => Reply::text(200, self.metrics()),
        };
        (handler, reply)
    }

    /// Prometheus' text.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        self.counts.write(&mut text);
        self.backend.metrics(&mut text);
        self.journals(&mut text);
        text
    }

    /// What the node's journals hold, where this process can see them.
    fn journals(&self, out: &mut String) {
        let Some(Ok(held)) = self.options.cni_dir.as_deref().map(attach::held) else { return };
        let mut family = Family { out };
        for (name, help, value) in [
            ("multus_journal_sandboxes", "Sandboxes that have a journal.", held.sandboxes),
            ("multus_journal_attachments", "Attachments that the journals name.", held.attachments),
            ("multus_journal_broken", "Journals that cannot be read.", held.broken),
            (
                "multus_parked_deletions",
                "Attachments whose DEL was set aside after it had failed several times.",
                held.parked,
            ),
        ] {
            family.one(name, "gauge", help, value);
        }
    }

    /// Reads the body, and has it answered when it is a call's turn.
    async fn with_body<'a, F, R>(&'a self, request: Request<Incoming>, handle: F) -> Reply
    where
        F: FnOnce(&'a Self, Vec<u8>) -> R,
        R: Future<Output = Reply>,
    {
        let announced = request.body().size_hint().upper().unwrap_or(LARGEST_REQUEST as u64);
        let Some(_held) = usize::try_from(announced).ok().and_then(|size| {
            // An announcement above the limit is refused below, without room for it.
            self.budget.take(size.min(LARGEST_REQUEST))
        }) else {
            return self.busy();
        };
        let body = match timeout(SENDING, Limited::new(request.into_body(), LARGEST_REQUEST).collect()).await
        {
            Ok(Ok(body)) => body.to_bytes().to_vec(),
            Ok(Err(error)) => {
                return self.failure(FailureKind::Malformed, "read the request", error.to_string());
            }
            Err(_) => {
                let why = format!("it did not arrive within {} s", SENDING.as_secs());
                return self.failure(FailureKind::Malformed, "read the request", why);
            }
        };
        match timeout(SENDING, self.calls.acquire()).await {
            Ok(Ok(_turn)) => handle(self, body).await,
            _ => self.busy(),
        }
    }

    fn busy(&self) -> Reply {
        self.failure(FailureKind::Busy, "", "the daemon has too many calls to answer at once".to_owned())
    }

    fn failure(&self, failure: FailureKind, attempt: &str, reason: String) -> Reply {
        Reply::failure(&Failure {
            version: self.options.versions.newest,
            program: self.options.program.clone(),
            failure,
            attempt: attempt.to_owned(),
            reason,
        })
    }
}

/// Which container answers: a name that a program in the same container finds as well.
#[must_use]
pub fn instance() -> String {
    std::fs::read_link("/proc/self/ns/pid").map_or_else(|_| String::new(), |link| link.display().to_string())
}

#[cfg(test)]
mod tests;
