use engine::ClusterError;

/// Why a request to the API server or the kubelet did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer in time, or one that says that there is none now.
    #[error("{attempt}: {reason}")]
    Unavailable {
        /// What was attempted, on what.
        attempt: String,
        /// Why it failed.
        reason: String,
        /// Whether the server could not be reached at all. Else it answers that it cannot now, which may be about this request alone, or
        /// it has not answered in time.
        away: bool,
    },
    /// The answer is that we may not.
    #[error("{attempt}: {reason}")]
    Denied {
        /// What was attempted, on what.
        attempt: String,
        /// The answer.
        reason: String,
        /// 401 for credentials that are not accepted, 403 for a role that does not allow it.
        code: u16,
    },
    /// The API server's answer is that the request cannot be done: 404, 409, 422 and their like.
    #[error("{attempt}: {message}")]
    Refused {
        /// What was attempted, on what.
        attempt: String,
        /// The HTTP status.
        code: u16,
        /// The API server's text.
        message: String,
    },
    /// The answer is larger than it may be.
    #[error("{attempt}: the answer has more than {limit} bytes")]
    TooLarge {
        /// What was attempted, on what.
        attempt: String,
        /// What was the most.
        limit: usize,
    },
    /// The way to the API server is described wrongly.
    #[error("{attempt}: {reason}")]
    Config {
        /// What was attempted, on what.
        attempt: String,
        /// Why it failed.
        reason: String,
    },
}

impl Error {
    pub(crate) fn unavailable(attempt: impl Into<String>, reason: impl ToString) -> Self {
        Self::Unavailable { attempt: attempt.into(), reason: reason.to_string(), away: false }
    }

    pub(crate) fn config(attempt: impl Into<String>, reason: impl ToString) -> Self {
        Self::Config { attempt: attempt.into(), reason: reason.to_string() }
    }

    /// The HTTP status of an answer, where there was one that is final.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } | Self::Denied { code, .. } => Some(*code),
            Self::Unavailable { .. } | Self::Config { .. } | Self::TooLarge { .. } => None,
        }
    }
}

impl From<Error> for ClusterError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable { attempt, reason, .. } => Self::Unavailable { attempt, reason },
            Error::Refused { attempt, message, code } => {
                Self::Unavailable { attempt, reason: format!("{message} (HTTP {code})") }
            }
            Error::TooLarge { attempt, limit } => {
                Self::Unavailable { attempt, reason: format!("the answer has more than {limit} bytes") }
            }
            Error::Denied { attempt, reason, .. } => Self::Denied { attempt, reason },
            Error::Config { attempt, reason } => Self::Config { attempt, reason },
        }
    }
}
