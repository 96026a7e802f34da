//! One request to the API server: sent on a connection that is kept, repeated while that can help, its answer told apart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use hyper::Method;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout_at};

use crate::Error;
use crate::connection::{Answer, Body, Connections, Failure, LARGEST_BODY, NOTHING, Target, whole};
use crate::kubeconfig::{Access, Credentials};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const USER_AGENT_VALUE: &str = concat!("multus-rs/", env!("CARGO_PKG_VERSION"));

/// Where a client's [`Access`] comes from, so that it can be read again when the credentials are not accepted any more.
#[derive(Debug, Clone)]
pub enum Source {
    /// A kubeconfig, which `thin_entrypoint` rewrites when the token changes.
    Kubeconfig(PathBuf),
    /// The pod that this process runs in; the kubelet replaces token and authority.
    Pod,
    /// Given once.
    Fixed(Access),
}

impl Source {
    fn read(&self) -> Result<Access, Error> {
        match self {
            Self::Kubeconfig(path) => Access::read(path),
            Self::Pod => Access::in_cluster(&|name| std::env::var(name).ok())?.ok_or_else(|| {
                Error::config(
                    "find the API server",
                    "this is no pod with a service account; give a kubeconfig",
                )
            }),
            Self::Fixed(access) => Ok(access.clone()),
        }
    }
}

/// An API server.
#[derive(Debug)]
pub(crate) struct Client {
    source: Source,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    access: Access,
    way: Way,
}

/// Where to send, and on what: connections that were opened with other credentials are none of these.
#[derive(Debug, Clone)]
struct Way {
    target: Target,
    connections: Arc<Connections>,
}

impl State {
    fn new(access: Access) -> Result<Self, Error> {
        let way = Way { target: Target::new(&access)?, connections: Arc::default() };
        Ok(Self { access, way })
    }
}

/// What to send.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// For error texts: `get pod default/a`.
    pub(crate) attempt: String,
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) accept: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    /// The largest answer that is held.
    pub(crate) largest: usize,
}

pub(crate) const JSON: &str = "application/json";
/// Only the metadata of an object, which halves what a pod weighs; servers that do not know this send the object.
pub(crate) const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// The same for a list.
pub(crate) const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

impl Request {
    pub(crate) fn get(attempt: String, path: String) -> Self {
        let (accept, content_type, body) = (JSON, "", Bytes::new());
        Self { attempt, method: Method::GET, path, accept, content_type, body, largest: LARGEST_BODY }
    }

    /// A write whose answer is not read.
    pub(crate) fn write(attempt: String, method: Method, path: String, body: Vec<u8>) -> Self {
        Self { largest: NOTHING, ..Self::send(attempt, method, path, body) }
    }

    pub(crate) fn send(attempt: String, method: Method, path: String, body: Vec<u8>) -> Self {
        Self { method, content_type: JSON, body: body.into(), ..Self::get(attempt, path) }
    }
}

/// The API server's `Status` object.
#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    message: Option<String>,
}

impl Client {
    pub(crate) fn new(source: Source) -> Result<Self, Error> {
        let state = State::new(source.read()?)?;
        Ok(Self { source, state: Mutex::new(state) })
    }

    /// Sends `request` until it is answered with what cannot change by itself.
    pub(crate) async fn call(&self, request: &Request, deadline: Instant) -> Result<Bytes, Error> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut read_again = false;
        let mut last = None;
        loop {
            let outcome = timeout_at(deadline.into(), self.once(request)).await;
            let mut wait = pause;
            match outcome {
                Err(_) => return Err(out_of_time(request, started, last)),
                Ok(Err(Failure::Final(error))) => return Err(error),
                Ok(Err(Failure::TooLarge(limit))) => return Err(too_large(request, limit)),
                Ok(Err(Failure::Passing(reason))) => last = Some(Last { reason, away: true }),
                Ok(Ok(answer)) => match answer.status.as_u16() {
                    200..=299 => return Ok(answer.body),
                    401 if !read_again && self.read_again().await? => {
                        read_again = true;
                        continue;
                    }
                    429 | 500 | 502 | 503 | 504 => {
                        wait = asked_pause(&answer).unwrap_or(pause);
                        last = Some(Last { reason: message_of(&answer), away: false });
                    }
                    code => return Err(told(request, code, message_of(&answer))),
                },
            }
            if Instant::now() + wait >= deadline {
                return Err(out_of_time(request, started, last));
            }
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sends `request` and reads the answer as `T`.
    pub(crate) async fn call_for<T: DeserializeOwned>(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<T, Error> {
        let body = self.call(request, deadline).await?;
        read(request, &body)
    }

    /// Sends `request` once and hands the answer's body out as it arrives.
    pub(crate) async fn open(&self, request: &Request) -> Result<Incoming, Error> {
        let failed = |failure| match failure {
            Failure::Passing(reason) => {
                Error::Unavailable { attempt: request.attempt.clone(), reason, away: true }
            }
            Failure::Final(error) => error,
            Failure::TooLarge(limit) => too_large(request, limit),
        };
        let (way, message) = self.message(request).await.map_err(failed)?;
        let response = way.connections.stream(&way.target, message).await.map_err(failed)?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let answer = whole(response, request.largest).await.map_err(failed)?;
        Err(told(request, answer.status.as_u16(), message_of(&answer)))
    }

    async fn once(&self, request: &Request) -> Result<Answer, Failure> {
        let (way, message) = self.message(request).await?;
        way.connections.exchange(&way.target, message, request.largest).await
    }

    async fn message(&self, request: &Request) -> Result<(Way, hyper::Request<Body>), Failure> {
        let (way, authorization) = {
            let state = self.state.lock().await;
            (state.way.clone(), authorization(&state.access.credentials).map_err(Failure::Final)?)
        };
        let mut head = hyper::Request::builder()
            .method(request.method.clone())
            .uri(way.target.uri(&request.path))
            .header(HOST, way.target.authority())
            .header(USER_AGENT, USER_AGENT_VALUE)
            .header(ACCEPT, request.accept);
        if !request.content_type.is_empty() {
            head = head.header(CONTENT_TYPE, request.content_type);
        }
        if let Some(value) = authorization {
            head = head.header(AUTHORIZATION, value);
        }
        let message = head
            .body(http_body_util::Full::new(request.body.clone()))
            .map_err(|error| Failure::Final(Error::config(&request.attempt, error)))?;
        Ok((way, message))
    }

    /// Reads the way to the API server again; whether it is another one than before.
    pub(crate) async fn read_again(&self) -> Result<bool, Error> {
        let mut state = self.state.lock().await;
        if matches!(self.source, Source::Fixed(_)) {
            return Ok(false);
        }
        let access = self.source.read()?;
        if access == state.access {
            return Ok(false);
        }
        *state = State::new(access)?;
        Ok(true)
    }
}

/// Reads an answer's body.
pub(crate) fn read<T: DeserializeOwned>(request: &Request, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        Error::unavailable(
            &request.attempt,
            format!("the answer cannot be read: {}", engine::discreet(error)),
        )
    })
}

/// `name` as one segment of a path. Names that would change the path are refused with client-go's text.
pub(crate) fn segment(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("resource name may not be empty".to_owned());
    }
    if matches!(name, "." | "..") {
        return Err(format!("invalid resource name {name:?}: [may not be '{name}']"));
    }
    if let Some(wrong) = name.chars().find(|c| matches!(c, '/' | '%')) {
        return Err(format!("invalid resource name {name:?}: [may not contain '{wrong}']"));
    }
    Ok(query_value(name))
}

/// `text` as a value in a query.
pub(crate) fn query_value(text: &str) -> String {
    use std::fmt::Write as _;
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            value.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(value, "%{byte:02X}");
        }
    }
    value
}

fn authorization(credentials: &Credentials) -> Result<Option<String>, Error> {
    Ok(match credentials {
        Credentials::None => None,
        Credentials::Token(token) => Some(format!("Bearer {}", token.trim())),
        Credentials::TokenFile(path) => {
            let token = std::fs::read_to_string(path)
                .map_err(|error| Error::config(format!("read token file {}", path.display()), error))?;
            Some(format!("Bearer {}", token.trim()))
        }
        Credentials::Basic(user, password) => {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            Some(format!("Basic {pair}"))
        }
    })
}

fn message_of(answer: &Answer) -> String {
    let status: Status = serde_json::from_slice(&answer.body).unwrap_or_default();
    status.message.filter(|message| !message.is_empty()).unwrap_or_else(|| answer.status.to_string())
}

fn asked_pause(answer: &Answer) -> Option<Duration> {
    let seconds = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(FIRST_PAUSE, LONGEST_PAUSE))
}

/// What an answer that is no success, or a watch's last word, means.
pub(crate) fn told(request: &Request, code: u16, message: String) -> Error {
    let attempt = request.attempt.clone();
    match code {
        401 | 403 => Error::Denied { attempt, reason: message, code },
        429 | 500..=599 => Error::Unavailable { attempt, reason: message, away: false },
        _ => Error::Refused { attempt, code, message },
    }
}

fn too_large(request: &Request, limit: usize) -> Error {
    Error::TooLarge { attempt: request.attempt.clone(), limit }
}

/// Why a request is sent again.
struct Last {
    reason: String,
    /// Whether the server could not be reached.
    away: bool,
}

fn out_of_time(request: &Request, started: Instant, last: Option<Last>) -> Error {
    let attempt = request.attempt.clone();
    let waited = started.elapsed().as_secs_f32();
    match last {
        None => Error::unavailable(attempt, format!("no answer from the API server within {waited:.1} s")),
        Some(Last { reason, away }) => {
            Error::Unavailable { attempt, reason: format!("gave up after {waited:.1} s: {reason}"), away }
        }
    }
}

#[cfg(test)]
mod tests;
