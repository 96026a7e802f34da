//! From a request to its answer, in the HTTP version that the connection has.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Response, StatusCode};

use super::connection::Closer;
use super::store::Answer;
use super::watch::Feed;
use super::{FaultKind, Request, Shared, lock};

const MOST_BODY: usize = 8 << 20;

/// Answers one request; an error ends the connection.
pub(super) async fn respond(
    request: hyper::Request<Incoming>,
    shared: Arc<Shared>,
    closer: Closer,
) -> io::Result<Response<Body>> {
    let request = read(request).await?;
    let number = {
        let mut state = lock(&shared);
        state.requests.push(request.clone());
        state.requests.len() - 1
    };
    let (delay, fault) = fault(&shared, &request);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let answer = match &fault {
        Some(FaultKind::Close) => return closer.close().await,
        Some(FaultKind::Status(code, reason, message)) => Answer::status(*code, reason, message),
        Some(FaultKind::Garbage(text)) => Answer { code: 200, body: text.clone().into_bytes() },
        _ => match Feed::of(&shared, &request) {
            Some(Ok(feed)) if authorized(&shared, &request) => {
                log(&shared, number, 200);
                return response(200, None, Body::Watch(next(feed, shared)));
            }
            Some(Err(answer)) => answer,
            _ => answer(&shared, &request),
        },
    };
    log(&shared, number, answer.code);
    let length = answer.body.len();
    let mut body = Bytes::from(answer.body);
    if matches!(fault, Some(FaultKind::Truncate)) {
        body.truncate(length / 2);
        return response(answer.code, Some(length), Body::Cut(Some(body)));
    }
    response(answer.code, Some(length), Body::Whole(Some(body)))
}

fn log(shared: &Shared, number: usize, code: u16) {
    if let Some(logged) = lock(shared).requests.get_mut(number) {
        logged.status = code;
    }
}

async fn read(request: hyper::Request<Incoming>) -> io::Result<Request> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MOST_BODY).collect().await.map_err(io::Error::other)?;
    let headers = head.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    Ok(Request {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body: body.to_bytes().to_vec(),
        status: 0,
    })
}

fn fault(shared: &Shared, request: &Request) -> (Duration, Option<FaultKind>) {
    let mut state = lock(shared);
    let mut delay = state.delay;
    let fitting = state.faults.iter_mut().find(|fault| {
        fault.times > 0
            && (fault.method.is_empty() || fault.method == request.method)
            && request.path.contains(&fault.path)
    });
    let kind = fitting.map(|fault| {
        fault.times -= 1;
        fault.kind.clone()
    });
    if let Some(FaultKind::Delay(longer)) = &kind {
        delay += *longer;
    }
    (delay, kind)
}

fn authorized(shared: &Shared, request: &Request) -> bool {
    let given = request.headers.get("authorization").map(String::as_str);
    lock(shared).token.as_ref().is_none_or(|token| given == Some(&format!("Bearer {token}")))
}

fn answer(shared: &Shared, request: &Request) -> Answer {
    if !authorized(shared, request) {
        return Answer::status(401, "Unauthorized", "Unauthorized");
    }
    let mut state = lock(shared);
    if state.patch_forbidden && request.method == "PATCH" {
        return Answer::status(
            403,
            "Forbidden",
            "pods is forbidden: User \"system:serviceaccount:kube-system:multus\" cannot patch resource \"pods/status\" \
             in API group \"\"",
        );
    }
    let answer = state.store.answer(request);
    drop(state);
    // What a watch tells may have changed.
    shared.changed.notify_waiters();
    answer
}

fn response(code: u16, length: Option<usize>, body: Body) -> io::Result<Response<Body>> {
    let status = StatusCode::from_u16(code).map_err(io::Error::other)?;
    let mut head = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    if let Some(length) = length {
        head = head.header(CONTENT_LENGTH, length);
    }
    head.body(body).map_err(io::Error::other)
}

/// A watch's next line, with the watch; `None` at its end.
type Next = Pin<Box<dyn Future<Output = Option<(Vec<u8>, Feed, Arc<Shared>)>> + Send>>;

fn next(mut feed: Feed, shared: Arc<Shared>) -> Next {
    Box::pin(async move { feed.next(&shared).await.map(|line| (line, feed, shared)) })
}

/// The body of an answer.
pub(super) enum Body {
    Whole(Option<Bytes>),
    /// It ends with a broken connection.
    Cut(Option<Bytes>),
    Watch(Next),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match &mut *self {
            Self::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Self::Cut(bytes) => {
                Some(bytes.take().map(Frame::data).ok_or(io::ErrorKind::UnexpectedEof.into()))
            }
            Self::Watch(waiting) => ready!(waiting.as_mut().poll(context)).map(|(line, feed, shared)| {
                *waiting = next(feed, shared);
                Ok(Frame::data(line.into()))
            }),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            _ => SizeHint::default(),
        }
    }
}
