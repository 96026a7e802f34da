//! A port that stays the server's while it does not listen.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

use crate::wait;

/// The port. A socket that is bound to it and never listens keeps it from being anybody else's.
pub(super) struct Port {
    _bound: OwnedFd,
    pub(super) address: SocketAddr,
}

impl Port {
    /// Takes a free port of 127.0.0.1.
    pub(super) fn take() -> Result<Self> {
        let bound = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&bound, true)?;
        bind(&bound, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).context("bind to a port of 127.0.0.1")?;
        let address = SocketAddr::try_from(getsockname(&bound)?)?;
        Ok(Self { _bound: bound, address })
    }

    /// Listens on it. A program that another thread starts just now has the listener of before until it runs, so it is tried until
    /// nobody has.
    pub(super) fn listen(&self) -> Result<TcpListener> {
        let mut last = None;
        wait::until("a listener", Duration::from_secs(10), || match TcpListener::bind(self.address) {
            Ok(listener) => Some(listener),
            Err(error) => {
                last = Some(error);
                None
            }
        })
        .with_context(|| format!("listen on {}: {last:?}", self.address))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn it_listens_again_though_other_threads_start_programs_and_take_ports_meanwhile() {
        let port = Port::take().unwrap();
        let done = AtomicBool::new(false);
        let listened: Result<()> = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = Command::new("/bin/true").status();
                    drop(TcpListener::bind(("127.0.0.1", 0)));
                }
            });
            let listened = (0..200).try_for_each(|_| port.listen().map(drop));
            done.store(true, Ordering::Relaxed);
            listened
        });
        listened.unwrap();
    }
}
