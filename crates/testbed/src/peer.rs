//! The other side of a unix socket: answers HTTP/1.1 requests as a test tells it to, one for each connection.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

const MOST_BODY: u64 = 16 << 20;

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET` or `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An answer with this status and body.
    Answer(u16, Vec<u8>),
    /// The connection is closed without a word, as by a program that is killed.
    Close,
    /// Nothing comes, as from a program that is stopped.
    Silence,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    open: BTreeMap<usize, UnixStream>,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stopped: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A program behind a socket. Dropped, it ends, and its socket is removed.
pub struct Peer {
    shared: Arc<Shared>,
    socket: PathBuf,
    acceptor: Option<JoinHandle<()>>,
}

impl Peer {
    /// Listens at `socket` and answers with what `answer` returns.
    ///
    /// # Errors
    /// When nobody can listen there.
    pub fn start(socket: &Path, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Result<Self> {
        let listener =
            UnixListener::bind(socket).with_context(|| format!("listen at {}", socket.display()))?;
        let shared = Arc::new(Shared::default());
        let answer: Arc<Answer> = Arc::new(answer);
        let acceptor = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared, &answer))
        };
        Ok(Self { shared, socket: socket.to_owned(), acceptor: Some(acceptor) })
    }

    /// All requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        {
            let mut state = self.shared.state();
            state.stop = true;
            for stream in state.open.values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.shared.stopped.notify_all();
        // The acceptor waits in accept(); a connection wakes it.
        let _ = UnixStream::connect(&self.socket);
        let _ = acceptor.join();
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>, answer: &Arc<Answer>) {
    let mut workers = Vec::new();
    for (number, stream) in listener.incoming().enumerate() {
        let Ok(stream) = stream else { continue };
        {
            let mut state = shared.state();
            if state.stop {
                break;
            }
            if let Ok(other) = stream.try_clone() {
                state.open.insert(number, other);
            }
        }
        let (shared, answer) = (Arc::clone(shared), Arc::clone(answer));
        workers.push(std::thread::spawn(move || {
            // The caller may be gone; that is its own business.
            let _ = connection(&stream, &shared, answer.as_ref());
            shared.state().open.remove(&number);
        }));
    }
    for worker in workers {
        let _ = worker.join();
    }
}

fn connection(stream: &UnixStream, shared: &Shared, answer: &Answer) -> io::Result<()> {
    let asked = read(&mut BufReader::new(stream))?;
    shared.state().asked.push(asked.clone());
    match answer(&asked) {
        Reply::Answer(status, body) => {
            let head = format!("HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\n\r\n", body.len());
            (&*stream).write_all(&[head.as_bytes(), &body].concat())
        }
        Reply::Close => Ok(()),
        Reply::Silence => {
            let state = shared.stopped.wait_while(shared.state(), |state| !state.stop);
            drop(state);
            Ok(())
        }
    }
}

fn read(reader: &mut impl BufRead) -> io::Result<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = Vec::new();
    reader.take(MOST_BODY.min(length)).read_to_end(&mut body)?;
    Ok(Asked { method, path, body })
}
