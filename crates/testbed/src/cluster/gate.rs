//! Ways to the API server that can be slow or shut, for all nodes or for whoever is told to take one.
//!
//! A gate relays TCP connections. Shut, it neither refuses nor ends any: what is sent just does not arrive, as where packets are
//! lost, which is harder on a program than a refusal.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Cluster, Machine, control};

/// Where the API server listens.
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 443);
/// Behind it all nodes are led through their gate.
const OF_ALL_NODES: u16 = 8443;

/// How a gate lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Passage {
    /// At once.
    #[default]
    Open,
    /// What a client sends is that long on its way.
    Slow(Duration),
    /// Nothing, in neither direction, until it is something else again.
    Shut,
}

/// A way to the API server. Dropped, it takes no new connection.
#[derive(Debug)]
pub struct Gate {
    state: Arc<State>,
    listener: TcpListener,
}

#[derive(Debug, Default)]
struct State {
    passage: Mutex<Passage>,
    changed: Condvar,
}

impl State {
    /// Until what arrived at that time may leave.
    fn wait(&self, arrived: Instant, from_client: bool) {
        let mut passage = self.passage.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Instant::now();
            passage = match *passage {
                Passage::Slow(delay) if from_client && now < arrived + delay => {
                    let waited = self.changed.wait_timeout(passage, arrived + delay - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Passage::Open | Passage::Slow(_) => return,
                Passage::Shut => self.changed.wait(passage).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Gate {
    /// In the network of `machine`, from that port to `to`.
    fn open(machine: &Machine, port: u16, to: SocketAddr) -> Result<Self> {
        let network = File::open(format!("/proc/{}/ns/net", machine.pid()))
            .with_context(|| format!("find the network of process {}", machine.pid()))?;
        let state = Arc::new(State::default());
        let (tell, told) = mpsc::channel();
        let shared = Arc::clone(&state);
        // This thread, and those that it starts, are in that network; no other is.
        thread::spawn(move || {
            let listener = move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(io::Error::from)
                .and_then(|()| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
                .and_then(|listener| Ok((listener.try_clone()?, listener)));
            match listener {
                Err(error) => drop(tell.send(Err(error))),
                Ok((handle, listener)) => {
                    if tell.send(Ok(handle)).is_ok() {
                        accept(&listener, to, &shared);
                    }
                }
            }
        });
        let listener = told
            .recv()
            .context("the thread of a gate ended")?
            .with_context(|| format!("open a gate at port {port}"))?;
        Ok(Self { state, listener })
    }

    /// From now on it lets through like this, connections of before included.
    pub fn set(&self, passage: Passage) {
        *self.state.passage.lock().unwrap_or_else(PoisonError::into_inner) = passage;
        self.state.changed.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Ends `accept`. What is carried goes on; it ends with the machines at both ends.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        self.set(Passage::Open);
    }
}

impl Cluster {
    /// Leads all nodes through a gate to the API server: their kubelets, and what runs in their pods. Not what runs on the
    /// control plane, nor [`Cluster::kubectl`].
    ///
    /// # Errors
    /// When the kernel does not redirect, or a kubelet does not come back; it is started again, since its old connection
    /// goes around the gate.
    pub fn gate_of_nodes(&self) -> Result<Gate> {
        let gate = self.gate(OF_ALL_NODES)?;
        let rule = "iptables -t nat -A PREROUTING -i lan -p tcp --dport 443 -j REDIRECT --to-ports \"$0\"";
        self.control_plane()
            .run("sh", &["-c", rule, &OF_ALL_NODES.to_string()])
            .context("lead the nodes through a gate")?;
        self.nodes().iter().try_for_each(|node| node.restart_kubelet("TERM"))?;
        self.wait_for_nodes()?;
        Ok(gate)
    }

    /// One more way to the API server, for whoever is told to take it: [`Cluster::address`] with that port.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn gate(&self, port: u16) -> Result<Gate> {
        Gate::open(self.control_plane(), port, API)
    }

    /// Where nodes reach the API server, and its gates.
    #[must_use]
    pub fn address(&self) -> &'static str {
        control::ADDRESS
    }
}

fn accept(listener: &TcpListener, to: SocketAddr, state: &Arc<State>) {
    for client in listener.incoming() {
        match client {
            Ok(client) => {
                let state = Arc::clone(state);
                thread::spawn(move || carry(client, to, &state));
            }
            // It went away before it was looked at.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

/// Carries one connection, until either end has closed it.
fn carry(client: TcpStream, to: SocketAddr, state: &Arc<State>) {
    state.wait(Instant::now(), false);
    let Ok(server) = TcpStream::connect(to) else { return };
    let Ok((client_too, server_too)) = client.try_clone().and_then(|c| Ok((c, server.try_clone()?))) else {
        return;
    };
    for end in [&client, &server] {
        let _ = end.set_nodelay(true);
    }
    let shared = Arc::clone(state);
    thread::spawn(move || relay(server_too, client_too, &shared, false));
    relay(client, server, state, true);
}

/// One direction of it.
fn relay(mut from: TcpStream, mut to: TcpStream, state: &State, from_client: bool) {
    let (send, arrived) = mpsc::channel::<(Instant, Vec<u8>)>();
    // Reading goes on while what was read is on its way: a delay is none of the throughput.
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if send.send((Instant::now(), buffer[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    for (at, bytes) in arrived {
        state.wait(at, from_client);
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    state.wait(Instant::now(), from_client);
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;

    use super::*;
    use crate::cluster::machine::Life;
    use crate::wait;

    /// A line sent through the gate, and whether its echo has come.
    struct Client {
        stream: TcpStream,
        echoed: mpsc::Receiver<String>,
    }

    impl Client {
        fn new(port: u16) -> Self {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let mut lines = io::BufReader::new(stream.try_clone().unwrap()).lines();
            let (send, echoed) = mpsc::channel();
            thread::spawn(move || {
                while let Some(Ok(line)) = lines.next() {
                    let _ = send.send(line);
                }
            });
            Self { stream, echoed }
        }

        fn say(&mut self, line: &str) {
            writeln!(self.stream, "{line}").unwrap();
        }

        fn hears(&self, line: &str) {
            assert_eq!(self.echoed.recv_timeout(Duration::from_secs(20)).unwrap(), line);
        }
    }

    #[test]
    fn a_gate_holds_what_is_sent_while_it_is_shut_and_delays_it_while_it_is_slow() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::boot("gated", dir.path(), Life::Held, |_| Ok(())).unwrap();
        let network = File::open(format!("/proc/{}/ns/net", machine.pid())).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        thread::spawn(move || {
            for stream in server.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });

        let gate = Gate::open(&machine, 700, address).unwrap();
        let mut before = Client::new(700);
        before.say("open");
        before.hears("open");

        gate.set(Passage::Shut);
        before.say("held");
        let mut during = Client::new(700);
        during.say("held too");
        gate.set(Passage::Slow(Duration::from_secs(3600)));
        // The new connection has to be there before its line can be late.
        before.say("late");
        assert!(before.echoed.try_recv().is_err() && during.echoed.try_recv().is_err());
        gate.set(Passage::Open);
        before.hears("held");
        before.hears("late");
        during.hears("held too");

        drop(gate);
        wait::until("no new connection", Duration::from_secs(20), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, 700)).is_err().then_some(())
        })
        .unwrap();
        machine.kill().unwrap();
    }
}
