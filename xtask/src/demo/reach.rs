//! Traffic across the networks that were attached.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use testbed::Netns;

use super::paint::milliseconds;

const PATIENCE: Duration = Duration::from_secs(5);

/// Sends something from `from` to `address` and waits for an answer: an echo request where `ping` is here and may work, else a TCP
/// connection, for which a closed port that refuses is an answer too.
pub(crate) fn reach(from: &Netns, address: IpAddr) -> Result<String> {
    if let Some(time) = ping(from, address) {
        return Ok(time);
    }
    let start = Instant::now();
    let connected = inside(from, move || TcpStream::connect_timeout(&SocketAddr::new(address, 9), PATIENCE))?;
    match connected {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionRefused => {
            Err(error).context("no answer to an echo request nor to a TCP connection")
        }
        _ => Ok(format!("{} (TCP)", milliseconds(start.elapsed()))),
    }
}

fn ping(from: &Netns, address: IpAddr) -> Option<String> {
    let mut ping = from.command("ping");
    let output = ping.args(["-n", "-c", "1", "-w", "2", &address.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let time = text.split("time=").nth(1)?.split_whitespace().next()?;
    output.status.success().then(|| format!("{time} ms"))
}

/// Connects to `address` from this namespace, the node's, and expects to be answered from inside `to`, where a server waits on
/// `port`.
pub(crate) fn through_port(address: SocketAddr, to: &Netns, port: u16) -> Result<String> {
    let server = serve(to, port)?;
    let start = Instant::now();
    let mut stream =
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read the answer")?;
    let took = start.elapsed();
    server.join().map_err(|_| anyhow!("the server in the pod gave up"))??;
    if answer != "hello from the pod" {
        bail!("another server answered: {answer:?}");
    }
    Ok(milliseconds(took))
}

/// Answers one connection from inside a pod.
fn serve(pod: &Netns, port: u16) -> Result<JoinHandle<Result<()>>> {
    let (ready, is_ready) = mpsc::channel();
    let path = pod.path();
    let server = std::thread::spawn(move || {
        enter(&path)?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("listen in the pod")?;
        listener.set_nonblocking(true)?;
        let _ = ready.send(());
        let (mut stream, _) =
            testbed::wait::until("a connection in the pod", PATIENCE, || listener.accept().ok())?;
        stream.write_all(b"hello from the pod")?;
        Ok(())
    });
    // An error here means that the thread ended before it was ready; it is told when the thread is joined.
    let _ = is_ready.recv_timeout(PATIENCE);
    Ok(server)
}

fn inside<T: Send + 'static>(netns: &Netns, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let path = netns.path();
    let thread = std::thread::spawn(move || enter(&path).map(|()| work()));
    thread.join().map_err(|_| anyhow!("a thread inside {} ended badly", netns.name()))?
}

/// Moves the calling thread into a network namespace, for the rest of its life.
fn enter(path: &std::path::Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("enter {}", path.display()))
}
