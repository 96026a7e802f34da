//! The daemon at work: the cluster followed, the socket served, one daemon taking over from another.
//!
//! It runs in a thread of its own with a runtime of its own; who starts it goes on with the node's files, which are synchronous.

use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::Level;
use kube_cluster::{Api, Source};
use protocol::{Versions, program, socket_path};
use tokio::net::{TcpListener, TcpSocket, UnixDatagram, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::backend::Backend;
use crate::{Kube, Lost, Options, Server, ServerOptions, SharedLog, Socket, SocketError};

/// How often it is looked whether the socket is still ours.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the caches are there, before another daemon's socket is taken over.
const SETTLE_EVERY: Duration = Duration::from_millis(50);
/// How long calls that are going on may take to end.
const DRAIN: Duration = Duration::from_secs(30);

/// Why the daemon does not run, or does no longer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The API server cannot be asked.
    #[error(transparent)]
    Cluster(#[from] kube_cluster::Error),
    /// There is no socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The folder of the socket was deleted.
    #[error("the folder of {0} was deleted; this container has to be started again to get the new one")]
    FolderGone(PathBuf),
    /// The port of the metrics.
    #[error("cannot serve metrics at {address}: {source}; set metricsPort to a free port, or metricsAddress")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no thread or no event queue.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
}

/// What differs between installations.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The API server.
    pub source: Source,
    /// The cluster side.
    pub kube: Options,
    /// The folder of the socket.
    pub socket_dir: PathBuf,
    /// The journals.
    pub cni_dir: PathBuf,
    /// How many calls are worked on at once.
    pub calls_at_once: Option<usize>,
    /// Where metrics are served over TCP.
    pub metrics: Option<SocketAddr>,
}

/// How far it has come.
#[derive(Debug, Default)]
struct Progress {
    serving: AtomicBool,
    ready: AtomicBool,
}

/// A daemon that runs.
pub struct Running {
    progress: Arc<Progress>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// [`RunError::Start`]; what else goes wrong is told by [`Running::stop`].
    pub fn start(settings: Settings, log: SharedLog) -> Result<Self, RunError> {
        let progress = Arc::new(Progress::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let shared = Arc::clone(&progress);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Start)?;
        let thread = std::thread::Builder::new()
            .name("daemon".to_owned())
            .spawn(move || {
                let ended = runtime.block_on(run(settings, &shared, log, async {
                    // That the other end is gone is as good a message.
                    let _ = stopped.await;
                }));
                // Lookups of names may hang in threads of their own; nobody waits for them.
                runtime.shutdown_background();
                ended
            })
            .map_err(RunError::Start)?;
        Ok(Self { progress, stop, thread })
    }

    /// Whether shims are answered.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.progress.serving.load(Ordering::Relaxed)
    }

    /// Whether lookups could be answered, at least once.
    #[must_use]
    pub fn was_ready(&self) -> bool {
        self.progress.ready.load(Ordering::Relaxed)
    }

    /// Whether it has ended by itself; [`Running::stop`] says why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it: nobody new is served, calls that are going on are finished, the socket goes if it is still this daemon's.
    ///
    /// # Errors
    /// Why it had ended before, or could not begin.
    pub fn stop(self) -> Result<(), RunError> {
        drop(self.stop);
        // The thread does not panic; release builds abort before one could join it.
        self.thread.join().unwrap_or(Ok(()))
    }
}

async fn run(
    settings: Settings,
    progress: &Progress,
    log: SharedLog,
    stopped: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let kube = Kube::start(Api::new(settings.source)?, settings.kube, Arc::clone(&log));
    let options = ServerOptions {
        program: program("multus-daemon"),
        versions: Versions::OURS,
        calls_at_once: settings.calls_at_once,
        cni_dir: Some(settings.cni_dir),
    };
    let server = Server::new(kube, options, Arc::clone(&log));
    let port = match settings.metrics {
        Some(address) => Some(listen(address)?),
        None => None,
    };
    let metrics = async {
        match &port {
            Some(listener) => server.serve_port(listener).await,
            None => pending().await,
        }
    };
    let serving = serve(&server, &settings.socket_dir, progress, &log);
    let ended = tokio::select! {
        ended = serving => ended,
        () = metrics => Ok(()),
        () = watch_readiness(server.backend(), progress, &log) => Ok(()),
        () = stopped => Ok(()),
    };
    server.drain(DRAIN).await;
    ended
}

fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    match bind(address) {
        // A node without IPv6 has no `::`.
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() => {
            let v4 = SocketAddr::from(([0, 0, 0, 0], address.port()));
            bind(v4).map_err(|_| error)
        }
        bound => bound,
    }
    .map_err(|source| RunError::Metrics { address, source })
}

/// Two daemons share the port while one takes over from the other on the node's network.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

/// Serves the socket until the folder is gone. A socket that somebody removed is made again; one that another daemon has taken over
/// is left to it, and whoever is still in its queue is answered.
async fn serve(
    server: &Arc<Server<Kube>>,
    dir: &std::path::Path,
    progress: &Progress,
    log: &SharedLog,
) -> Result<(), RunError> {
    settle(server.backend(), dir).await;
    loop {
        let (socket, arriving) = Socket::bind(dir)?;
        let listener = UnixListener::from_std(arriving.calls).map_err(RunError::Start)?;
        let notices = UnixDatagram::from_std(arriving.notices).map_err(RunError::Start)?;
        progress.serving.store(true, Ordering::Relaxed);
        log.line(Level::Verbose, format_args!("serving at {}", socket.path().display()));
        let lost = tokio::select! {
            () = server.serve_socket(&listener) => return Ok(()),
            () = server.count_notices(&notices) => return Ok(()),
            lost = watch(&socket, log) => lost,
        };
        log.line(Level::Error, format_args!("{} was removed: {lost:?}", socket.path().display()));
        if lost == Lost::FolderGone {
            return Err(RunError::FolderGone(socket.path().to_owned()));
        }
    }
}

/// Waits while another daemon answers better than this one could: its caches are full, and these are not yet.
async fn settle(kube: &Kube, dir: &std::path::Path) {
    while kube.ready().is_err() {
        let answered = timeout(SETTLE_EVERY, UnixStream::connect(socket_path(dir))).await;
        if !matches!(answered, Ok(Ok(_))) {
            return;
        }
        sleep(SETTLE_EVERY).await;
    }
}

/// Until the socket is not there any more.
async fn watch(socket: &Socket, log: &SharedLog) -> Lost {
    let mut taken = false;
    loop {
        sleep(LOOK_EVERY).await;
        match socket.lost() {
            None => taken = false,
            Some(Lost::Taken) if taken => {}
            Some(Lost::Taken) => {
                taken = true;
                log.line(
                    Level::Verbose,
                    format_args!("another daemon has taken {} over", socket.path().display()),
                );
            }
            Some(lost) => return lost,
        }
    }
}

/// Tells once when lookups can be answered for the first time, and why not if it takes long.
async fn watch_readiness(kube: &Kube, progress: &Progress, log: &SharedLog) {
    let mut told = String::new();
    loop {
        match kube.ready() {
            Ok(()) if !progress.ready.swap(true, Ordering::Relaxed) => {
                log.line(Level::Verbose, format_args!("ready: lookups are answered"));
            }
            Ok(()) => told.clear(),
            Err(why) => {
                // The text counts seconds; what matters is the reason behind them.
                let reason = why.split_once(": ").map_or(why.as_str(), |(_, reason)| reason).to_owned();
                if told != reason && progress.ready.load(Ordering::Relaxed) {
                    log.line(Level::Error, format_args!("not ready: {why}"));
                }
                told = reason;
            }
        }
        let pause = if progress.ready.load(Ordering::Relaxed) { LOOK_EVERY } else { SETTLE_EVERY };
        sleep(pause).await;
    }
}
