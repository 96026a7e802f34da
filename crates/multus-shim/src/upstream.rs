//! Upstream's daemon behind the socket, in the moment in which a node goes back to upstream: it takes whole calls, and so this does
//! what upstream's shim would.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use libcni::skel::{self, Call};
use libcni::{CniError, CniResult};
use protocol::LARGEST_ANSWER;
use protocol::http::{self, Response};
use protocol::upstream::{CNI, Request, error_of, result_of};

/// What upstream's daemon gives as results, whatever version the configuration has.
const RESULT_VERSION: &str = "1.1.0";

/// Has the daemon do the ADD.
pub(crate) fn add(call: &Call, socket: &Path, deadline: Instant) -> Result<Vec<u8>, CniError> {
    let failed = |code, why: String| CniError::new(code, format!("CmdAdd (shim): {why}"), "");
    // The daemon needs the call and nothing else of the environment, which upstream's shim sends as a whole.
    let environment: BTreeMap<_, _> = std::env::vars().filter(|(name, _)| name.starts_with("CNI_")).collect();
    let body = Request::new(environment, &call.stdin).to_bytes();
    let request =
        http::Request { method: "POST", path: CNI, body: &body, largest_answer: LARGEST_ANSWER, deadline };
    let Response { status, body } = http::call(socket, &request).map_err(|error| {
        failed(CniError::TRY_AGAIN, format!("failed to send CNI request to {}: {error}", socket.display()))
    })?;
    if status != 200 {
        let error = error_of(status, &body);
        return Err(CniError { msg: format!("CmdAdd (shim): {}", error.msg), ..error });
    }
    let unreadable =
        |why: String| failed(CniError::DECODE, format!("failed to unmarshal response of the daemon: {why}"));
    let result = result_of(&body).map_err(unreadable)?;
    let result = CniResult::parse(result.get().as_bytes(), RESULT_VERSION)
        .and_then(|result| result.as_version(&call.cni_version))
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(skel::pretty_result(&result))
}
