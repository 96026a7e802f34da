//! One HTTP/1.1 call over a unix socket, blocking, bounded in size and time.
//!
//! As much of HTTP as a daemon's answer can need, ours or upstream's: a status, `Content-Length`, `chunked`, or a body that ends
//! with the connection. No redirects, no keep-alive, no compression; each call says `Connection: close`.

mod response;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

pub use response::{Response, read_response};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error("nobody answers: {0}")]
    Connect(#[source] io::Error),
    /// The deadline came first.
    #[error("no answer in time")]
    Late,
    /// The other side went away in the middle.
    #[error("the connection broke off: {0}")]
    Broken(#[source] io::Error),
    /// The answer is larger than the caller can use.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The other side does not speak HTTP/1.1.
    #[error("the answer is not HTTP/1.1: {0}")]
    NotHttp(&'static str),
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// The path; a constant of this crate.
    pub path: &'a str,
    /// The body, JSON; none for `GET`.
    pub body: &'a [u8],
    /// The largest body that is read.
    pub largest_answer: usize,
    /// When to give up.
    pub deadline: Instant,
}

/// Sends `request` to the socket at `socket` and reads the answer.
///
/// # Errors
/// [`Error`]. After [`Error::Connect`] the request was not sent; after the others the daemon may have acted on it.
pub fn call(socket: &Path, request: &Request<'_>) -> Result<Response, Error> {
    let mut stream = Bounded { stream: open(socket, request.deadline)?, deadline: request.deadline };
    let head = format!(
        "{} {} HTTP/1.1\r\nHost: multus\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        request.method,
        request.path,
        request.body.len()
    );
    let sent = stream.write_all(&[head.as_bytes(), request.body].concat());
    // A daemon may answer before it has read everything, and close: what it says is worth more than that it closed.
    match (read_response(&mut stream, request.largest_answer), sent) {
        (Ok(response), _) => Ok(response),
        (Err(Error::Broken(_)), Err(error)) => Err(broken(error)),
        (Err(error), _) => Err(error),
    }
}

fn open(socket: &Path, deadline: Instant) -> Result<UnixStream, Error> {
    let refused = |error: rustix::io::Errno| Error::Connect(error.into());
    let address = SocketAddrUnix::new(socket).map_err(refused)?;
    let fd: OwnedFd =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(refused)?;
    // It bounds connect too: a daemon that is stopped accepts nobody, and its queue is full after a while.
    set_socket_timeout(&fd, Timeout::Send, Some(left(deadline)?)).map_err(refused)?;
    match connect(&fd, &address) {
        Ok(()) => Ok(UnixStream::from(fd)),
        Err(rustix::io::Errno::AGAIN) => Err(Error::Late),
        Err(error) => Err(refused(error)),
    }
}

/// What is left until `deadline`.
fn left(deadline: Instant) -> Result<Duration, Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    // The kernel counts in microseconds and takes 0 for "for ever".
    if left < Duration::from_micros(1) { Err(Error::Late) } else { Ok(left) }
}

fn broken(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Late,
        _ => Error::Broken(error),
    }
}

/// A stream whose reads and writes end at the deadline, however little the other side sends at a time.
struct Bounded {
    stream: UnixStream,
    deadline: Instant,
}

impl Bounded {
    fn left(&self) -> io::Result<Duration> {
        left(self.deadline).map_err(|_| io::ErrorKind::TimedOut.into())
    }
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(into)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests;
