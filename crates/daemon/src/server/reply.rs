//! Answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use protocol::message::Failure;
use serde::Serialize;

use super::budget::Taken;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// An answer before it is HTTP's.
pub(super) struct Reply {
    pub(super) status: u16,
    content_type: Option<&'static str>,
    body: Vec<u8>,
    taken: Option<Taken>,
}

impl Reply {
    pub(super) fn empty() -> Self {
        Self { status: 200, content_type: None, body: Vec::new(), taken: None }
    }

    pub(super) fn text(status: u16, text: String) -> Self {
        Self { status, content_type: Some(TEXT), body: text.into_bytes(), taken: None }
    }

    pub(super) fn json(status: u16, message: &impl Serialize) -> Self {
        // The messages are made of strings, numbers and maps with string keys: nothing that JSON lacks.
        let body = serde_json::to_vec(message).unwrap_or_default();
        Self { status, content_type: Some(JSON), body, taken: None }
    }

    pub(super) fn failure(failure: &Failure) -> Self {
        Self::json(failure.failure.http_status(), failure)
    }

    /// Upstream's words.
    pub(super) fn wrong_method() -> Self {
        Self::text(405, "Method not allowed\n".to_owned())
    }

    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Gives `taken` back when the body is written.
    pub(super) fn holding(self, taken: Taken) -> Self {
        Self { taken: Some(taken), ..self }
    }

    pub(super) fn into_response(self) -> Response<Held> {
        let mut response = Response::new(Held { left: Bytes::from(self.body), _taken: self.taken });
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(content_type) = self.content_type {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        response
    }
}

/// A body that holds on to its part of the budget until the client has taken it: it is given to the connection in pieces, which the
/// connection asks for when it has written those before.
pub(super) struct Held {
    left: Bytes,
    _taken: Option<Taken>,
}

const PIECE: usize = 64 << 10;

impl Body for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let size = PIECE.min(self.left.len());
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
