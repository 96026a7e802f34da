//! Connections to one server: HTTP/2 over TLS where the server speaks it, so that one carries all requests at once; else a
//! few of HTTP/1.1.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::kubeconfig::Access;
use crate::{Error, tls};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// etcd stores no object above 1.5 MiB; in JSON it is somewhat more.
pub(crate) const LARGEST_BODY: usize = 8 << 20;
/// A write is answered with the whole object, of which all that matters is that there is one.
pub(crate) const NOTHING: usize = 0;
/// How many HTTP/1.1 connections at once.
const MOST_CONNECTIONS: usize = 4;
/// How long a request waits for a connection before another one is opened. A server that answers at once is asked on one: a TLS
/// handshake costs both sides more than a request does.
const PATIENCE: Duration = Duration::from_millis(10);
/// A watch is silent for minutes. That its server is still there is asked this often, and given up when no answer comes for as long
/// again: what a cache tells is known to be outdated half a minute after a server has gone without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) type Body = Full<Bytes>;

/// Where to connect, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    host: String,
    port: u16,
    prefix: String,
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls {
    config: Arc<rustls::ClientConfig>,
    name: rustls::pki_types::ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({:?})", self.name)
    }
}

impl Target {
    pub(crate) fn new(access: &Access) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::config(format!("server {:?}", access.server), reason);
        let secure = access.authority.is_some() || access.insecure || access.certificate.is_some();
        // A server without a scheme: client-go's defaults.
        let url = match (access.server.contains("://"), secure) {
            (true, _) => access.server.clone(),
            (false, true) => format!("https://{}", access.server),
            (false, false) => format!("http://{}", access.server),
        };
        let uri: Uri = url.parse().map_err(|error| wrong(&format!("no URL: {error}")))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("must start with https:// or http://")),
        };
        let tls = if encrypted {
            let name = tls::server_name(access.server_name.as_deref().unwrap_or(host))?;
            Some(Tls { config: tls::config(access)?, name })
        } else {
            None
        };
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 }),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            tls,
        })
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}{path}", self.authority(), self.prefix)
    }
}

/// Why an exchange failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may pass by itself.
    Passing(String),
    /// It will not.
    Final(Error),
    /// The answer is larger than this many bytes, which is all that was wanted.
    TooLarge(usize),
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The open connections to one server, all opened with the same credentials.
#[derive(Debug)]
pub(crate) struct Connections {
    open: Mutex<Open>,
    /// One for each HTTP/1.1 connection that may be in use.
    slots: Semaphore,
    granted: AtomicUsize,
}

#[derive(Debug, Default)]
struct Open {
    shared: Option<http2::SendRequest<Body>>,
    idle: Vec<http1::SendRequest<Body>>,
    /// Whether the server has shown that it speaks only HTTP/1.1.
    only_http1: bool,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Default for Connections {
    fn default() -> Self {
        Self { open: Mutex::default(), slots: Semaphore::new(1), granted: AtomicUsize::new(1) }
    }
}

impl Connections {
    /// Sends `request` and reads its answer, of at most `largest` bytes.
    pub(crate) async fn exchange(
        &self,
        target: &Target,
        request: Request<Body>,
        largest: usize,
    ) -> Result<Answer, Failure> {
        // The slot is given back when the answer is read.
        let (sender, _slot) = self.sender(target).await?;
        let (response, http1) = match sender {
            Sender::Http2(mut sender) => (limited(sender.send_request(request)).await, None),
            Sender::Http1(mut sender) => {
                (limited(sender.send_request(origin_form(request))).await, Some(sender))
            }
        };
        let response = match response {
            Ok(response) => response,
            Err(failure) => {
                // A connection that does not answer is not asked again.
                self.open.lock().await.shared = None;
                return Err(failure);
            }
        };
        let answer = timeout(ANSWER_LIMIT, whole(response, largest)).await.map_err(passing)??;
        if let Some(mut sender) = http1
            && sender.ready().await.is_ok()
        {
            self.open.lock().await.idle.push(sender);
        }
        Ok(answer)
    }

    /// Sends `request` and hands its answer out as it arrives, for as long as that takes.
    pub(crate) async fn stream(
        &self,
        target: &Target,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let shared = {
            let open = self.open.lock().await;
            open.shared.clone().filter(|shared| !shared.is_closed())
        };
        let sender = match shared {
            Some(shared) => Sender::Http2(shared),
            None => connect(target).await?,
        };
        match sender {
            Sender::Http2(mut sender) => {
                let sent = limited(sender.send_request(request)).await;
                let mut open = self.open.lock().await;
                match &sent {
                    Ok(_) if open.shared.is_none() => open.shared = Some(sender),
                    Ok(_) => {}
                    Err(_) => open.shared = None,
                }
                sent
            }
            // Nothing else can be sent on it meanwhile, so it is none of those for requests.
            Sender::Http1(mut sender) => limited(sender.send_request(origin_form(request))).await,
        }
    }

    /// A connection to send on; one of HTTP/1.1 comes with its slot.
    async fn sender(&self, target: &Target) -> Result<(Sender, Option<SemaphorePermit<'_>>), Failure> {
        let mut open = self.open.lock().await;
        if let Some(shared) = open.shared.as_ref().filter(|shared| !shared.is_closed()) {
            return Ok((Sender::Http2(shared.clone()), None));
        }
        if open.only_http1 {
            drop(open);
            let slot = self.slot().await?;
            let idle = self.idle().await;
            return Ok((if let Some(idle) = idle { idle } else { connect(target).await? }, Some(slot)));
        }
        // The lock is held while the first connection is made: it shows whether one is enough for all.
        let sender = connect(target).await?;
        match &sender {
            Sender::Http2(shared) => open.shared = Some(shared.clone()),
            Sender::Http1(_) => open.only_http1 = true,
        }
        let slot = if open.only_http1 { self.slots.try_acquire().ok() } else { None };
        Ok((sender, slot))
    }

    /// The right to use a connection; one more is granted when those that are open stay busy.
    async fn slot(&self) -> Result<SemaphorePermit<'_>, Failure> {
        loop {
            match timeout(PATIENCE, self.slots.acquire()).await {
                Ok(slot) => return slot.map_err(passing),
                Err(_) if self.granted.load(Ordering::Relaxed) < MOST_CONNECTIONS => {
                    self.granted.fetch_add(1, Ordering::Relaxed);
                    self.slots.add_permits(1);
                }
                Err(_) => return self.slots.acquire().await.map_err(passing),
            }
        }
    }

    async fn idle(&self) -> Option<Sender> {
        let mut open = self.open.lock().await;
        while let Some(idle) = open.idle.pop() {
            if !idle.is_closed() {
                return Some(Sender::Http1(idle));
            }
        }
        None
    }
}

async fn connect(target: &Target) -> Result<Sender, Failure> {
    let connecting = timeout(CONNECT_LIMIT, connect_unlimited(target)).await;
    connecting.map_err(|_| {
        Failure::Passing(format!("cannot connect to {} within {CONNECT_LIMIT:?}", target.authority()))
    })?
}

async fn connect_unlimited(target: &Target) -> Result<Sender, Failure> {
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    let failed =
        |error: std::io::Error| Failure::Passing(format!("connect to {}: {error}", target.authority()));
    let stream = TcpStream::connect((host, target.port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    keep_alive(&stream).map_err(failed)?;
    let Some(tls) = &target.tls else { return http1(stream).await };
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let stream = connector
        .connect(tls.name.clone(), stream)
        .await
        .map_err(|error| handshake_failed(&target.authority(), &error))?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return http2(stream).await.map(Sender::Http2);
    }
    http1(stream).await
}

/// For what HTTP/2's pings do not see: HTTP/1.1, and a request that was sent and not received.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE / 3)?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    Ok(sockopt::set_tcp_user_timeout(stream, 2 * KEEP_ALIVE.as_millis() as u32)?)
}

/// A certificate that does not fit stays so until somebody changes the kubeconfig or the server.
fn handshake_failed(server: &str, error: &std::io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Failure::Final(Error::config(
                format!("verify the certificate of {server}"),
                format!("{error}; check certificate-authority-data and server in the kubeconfig"),
            ))
        }
        _ => Failure::Passing(format!("TLS with {server}: {error}")),
    }
}

async fn http1<S>(stream: S) -> Result<Sender, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(passing)?;
    // How a connection ends is told to whoever waits for an answer on it.
    tokio::spawn(async { drop(driver.await) });
    Ok(Sender::Http1(sender))
}

/// HTTP/2 on `stream`; the kubelet's socket is spoken to by it as well.
pub(crate) async fn http2<S>(stream: S) -> Result<http2::SendRequest<Body>, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http2::Builder::new(TokioExecutor::new())
        // What a server may send ahead of us, all of it in memory.
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(passing)?;
    tokio::spawn(async { drop(driver.await) });
    Ok(sender)
}

async fn limited(
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
) -> Result<Response<Incoming>, Failure> {
    let late = |_| Failure::Passing(format!("no answer within {ANSWER_LIMIT:?}"));
    timeout(ANSWER_LIMIT, response).await.map_err(late)?.map_err(passing)
}

/// Reads an answer to its end, of at most `largest` bytes. Of a success of which [`NOTHING`] is wanted no byte is held.
pub(crate) async fn whole(response: Response<Incoming>, largest: usize) -> Result<Answer, Failure> {
    let (head, mut incoming) = response.into_parts();
    let unwanted = largest == NOTHING && head.status.is_success();
    let largest = if largest == NOTHING { LARGEST_BODY } else { largest };
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(passing)?.into_data() else { continue };
        if unwanted {
            continue;
        }
        if body.len() + data.len() > largest {
            return Err(Failure::TooLarge(largest));
        }
        body.extend_from_slice(&data);
    }
    Ok(Answer { status: head.status, headers: head.headers, body: body.into() })
}

/// HTTP/1.1 to a server, not a proxy: the request line has the path only.
fn origin_form(mut request: Request<Body>) -> Request<Body> {
    if let Some(path) = request.uri().path_and_query() {
        *request.uri_mut() = Uri::from(path.clone());
    }
    request
}

fn passing(error: impl std::error::Error) -> Failure {
    Failure::Passing(with_causes(&error))
}

/// An error with its causes, which hyper's own text leaves out.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
