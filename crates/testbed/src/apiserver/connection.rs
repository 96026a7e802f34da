//! Connections: plain ones speak HTTP/1.1; over TLS the client chooses, as with a real API server, and most choose HTTP/2.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::{Shared, http};

/// How many connections may be open at once; the rest wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 256;

/// A server that runs on a thread of its own. Dropped, it ends: connections are closed, and the thread is waited for.
pub(super) struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Serves on `listener`.
pub(super) fn serve(listener: TcpListener, shared: Arc<Shared>) -> io::Result<Running> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            // Without a listener nobody is answered, which each test will notice.
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                tokio::spawn(accept(listener, shared));
                let _ = stopped.await;
            }
        });
    });
    Ok(Running { stop: Some(stop), thread: Some(thread) })
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        let closer = Closer::default();
        let own = closer.clone();
        let task = tokio::spawn(async move {
            // A peer that goes away, or a fault that closes, ends the connection; nobody is to be told.
            let _ = connection(stream, shared, own).await;
            drop(place);
        });
        let _ = closer.task.set(task.abort_handle());
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, closer: Closer) -> io::Result<()> {
    let Some(config) = shared.tls.clone() else { return http1(stream, shared, closer).await };
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return http2(stream, shared, closer).await;
    }
    http1(stream, shared, closer).await
}

async fn http1<S>(stream: S, shared: Arc<Shared>, closer: Closer) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request| http::respond(request, Arc::clone(&shared), closer.clone()));
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
}

async fn http2<S>(stream: S, shared: Arc<Shared>, closer: Closer) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request| http::respond(request, Arc::clone(&shared), closer.clone()));
    let builder = http2::Builder::new(TokioExecutor::new());
    builder.serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
}

/// Closes a connection from within one of its requests.
#[derive(Clone, Default)]
pub(super) struct Closer {
    task: Arc<OnceLock<AbortHandle>>,
}

impl Closer {
    /// Does not come back: the connection's task, which waits for this, is gone.
    pub(super) async fn close<T>(&self) -> T {
        if let Some(task) = self.task.get() {
            task.abort();
        }
        std::future::pending().await
    }
}
