//! HTTP/1.1 as far as Kubernetes clients use it: keep-alive, bodies by length or in chunks.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;

use super::store::Answer;
use super::watch::Feed;
use super::{FaultKind, Request, Shared, lock, wait};

const MOST_HEADER: u64 = 64 << 10;
const MOST_BODY: u64 = 8 << 20;

/// Answers requests until the peer closes.
pub(super) fn connection(stream: &mut (impl Read + Write), shared: &Arc<Shared>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let Some(mut request) = read(&mut reader)? else { return Ok(()) };
        let close =
            request.headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let number = {
            let mut state = lock(shared);
            state.requests.push(request.clone());
            state.requests.len() - 1
        };
        let (delay, fault) = fault(shared, &request);
        wait(shared, delay);
        let answer = match &fault {
            Some(FaultKind::Close) => return Ok(()),
            Some(FaultKind::Status(code, reason, message)) => Answer::status(*code, reason, message),
            Some(FaultKind::Garbage(text)) => Answer { code: 200, body: text.clone().into_bytes() },
            _ => match Feed::of(shared, &request) {
                Some(Ok(feed)) if authorized(shared, &request) => {
                    if let Some(logged) = lock(shared).requests.get_mut(number) {
                        logged.status = 200;
                    }
                    return write_watch(reader.get_mut(), feed, shared);
                }
                Some(Err(answer)) => answer,
                _ => answer(shared, &request),
            },
        };
        request.status = answer.code;
        if let Some(logged) = lock(shared).requests.get_mut(number) {
            logged.status = answer.code;
        }
        let truncate = matches!(fault, Some(FaultKind::Truncate));
        write(reader.get_mut(), &answer, truncate)?;
        if close || truncate {
            return Ok(());
        }
    }
}

fn fault(shared: &Shared, request: &Request) -> (std::time::Duration, Option<FaultKind>) {
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

/// Writes a watch's lines, in chunks, until its end.
fn write_watch(stream: &mut impl Write, mut feed: Feed, shared: &Shared) -> io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    stream.flush()?;
    while let Some(line) = feed.next(shared) {
        stream.write_all(format!("{:x}\r\n", line.len()).as_bytes())?;
        stream.write_all(&line)?;
        stream.write_all(b"\r\n")?;
        stream.flush()?;
    }
    stream.write_all(b"0\r\n\r\n")
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
    shared.changed.notify_all();
    answer
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = reader.take(MOST_HEADER);
    let first = line(&mut head)?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::Error::other("no request line"));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: BTreeMap::new(),
        body: Vec::new(),
        status: 0,
    };
    loop {
        let header = line(&mut head)?;
        let Some((name, value)) = header.split_once(':') else { break };
        request.headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    request.body = body(reader, &request.headers)?;
    Ok(Some(request))
}

fn body(reader: &mut impl BufRead, headers: &BTreeMap<String, String>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_none_or(|value| value != "chunked") {
        let length = headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0_u64);
        reader.take(length.min(MOST_BODY)).read_to_end(&mut body)?;
        return Ok(body);
    }
    loop {
        let size = line(&mut reader.take(MOST_HEADER))?;
        let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        if body.len() as u64 + size > MOST_BODY {
            return Err(io::Error::other("body too large"));
        }
        reader.take(size).read_to_end(&mut body)?;
        line(&mut reader.take(MOST_HEADER))?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

fn write(stream: &mut impl Write, answer: &Answer, truncate: bool) -> io::Result<()> {
    let mut bytes = format!(
        "HTTP/1.1 {} Answer\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        answer.code,
        answer.body.len()
    )
    .into_bytes();
    let body = if truncate { &answer.body[..answer.body.len() / 2] } else { &answer.body[..] };
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)?;
    stream.flush()
}
