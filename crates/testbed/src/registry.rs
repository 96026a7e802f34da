//! A registry of images and charts on the loopback interface, empty at its start.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{parts, wait};

/// A running registry. Dropped, it ends and what it held is gone.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// Starts one, and waits until it takes connections.
    ///
    /// # Errors
    /// When the program cannot be had or does not start.
    pub fn start() -> Result<Self> {
        let dir = tempfile::tempdir().context("make a folder for a registry")?;
        let address = free_address()?;
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            dir.path().join("storage").display()
        );
        let path = dir.path().join("config.yml");
        fs::write(&path, config)?;
        let log = dir.path().join("log");
        let child = Command::new(parts::docker_registry()?)
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("start docker-registry")?;
        let mut registry = Self { child, address, _dir: dir };
        let answers = wait::until("the registry", Duration::from_secs(20), || {
            let ended = registry.child.try_wait().ok().flatten().is_some();
            (ended || TcpStream::connect(address).is_ok()).then_some(!ended)
        })?;
        if !answers {
            bail!("docker-registry ended: {}", fs::read_to_string(log).unwrap_or_default());
        }
        Ok(registry)
    }

    /// `127.0.0.1:PORT`, the first part of references to what it holds. It speaks plain HTTP.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; both calls then fail, and there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The registry tells its port only in its log, so it gets one that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| socket.local_addr())
        .context("find a free port")
}
