//! A pod's network namespace, seen through sockets that were opened in it.
//!
//! A socket belongs to the namespace in which it was opened, whatever its user does later. So one short-lived thread enters the
//! namespace, opens the sockets and ends; no thread that goes on living is ever in a wrong namespace.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statfs, statx};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What a bind mount of a namespace, and the same path below /proc on old kernels, report as their file system.
const NSFS_MAGIC: u32 = 0x6e73_6673;
const PROC_MAGIC: u32 = 0x9fa0;

/// Sockets inside a pod's network namespace.
pub(crate) struct PodNetns {
    pub(crate) netlink: Socket,
    pub(crate) sequence: u32,
    device: OwnedFd,
}

impl PodNetns {
    /// Opens the namespace at `path`. The texts are upstream's, which users and tests know.
    pub(crate) fn open(path: &str) -> Result<PodNetns, String> {
        check_kind(path)?;
        let file =
            File::open(path).map_err(|error| format!("cannot open the network namespace {path}: {error}"))?;
        let (netlink, device) = thread::scope(|scope| scope.spawn(|| enter(&file)).join())
            .map_err(|_| format!("the thread that entered the network namespace {path} failed"))?
            .map_err(|error| format!("cannot enter the network namespace {path}: {error}"))?;
        Ok(PodNetns { netlink, sequence: 0, device })
    }

    /// The index of an interface, `None` where there is none of that name.
    pub(crate) fn index_of(&self, if_name: &str) -> io::Result<Option<u32>> {
        match netdevice::name_to_index(self.device.as_fd(), if_name) {
            Ok(index) => Ok(Some(index)),
            Err(Errno::NODEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Runs on a thread of its own, which ends right after.
fn enter(namespace: &File) -> io::Result<(Socket, OwnedFd)> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let mut netlink = Socket::new(NETLINK_ROUTE)?;
    netlink.bind_auto()?;
    netlink.connect(&SocketAddr::new(0, 0))?;
    let device = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok((netlink, device))
}

fn check_kind(path: &str) -> Result<(), String> {
    let found = statfs(path).map_err(|error| {
        let reason = if error == Errno::NOENT {
            "no such file or directory".to_owned()
        } else {
            io::Error::from(error).to_string()
        };
        format!("no net namespace {path} found: failed to Statfs {path:?}: {reason}")
    })?;
    // The kernel's magic numbers have 32 bits; the field's width differs between machines.
    let magic = u32::try_from(i128::from(found.f_type) & 0xffff_ffff).unwrap_or_default();
    if magic == NSFS_MAGIC || magic == PROC_MAGIC {
        return Ok(());
    }
    Err(format!("no net namespace {path} found: unknown FS magic on {path:?}: {magic:x}"))
}

/// What identifies the namespace at `path` as long as it lives; `None` where there is none.
///
/// Device and inode alone do not: the kernel gives a new namespace the lowest number that is free. A bind mount, as runtimes make
/// them, keeps the inode in memory, and with it the time at which it came; below /proc it is made anew whenever it likes.
pub(crate) fn identity(path: &str) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    let found = fs::metadata(Path::new(path)).ok()?;
    let number = format!("{}:{}", found.dev(), found.ino());
    let flags = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS).map(|found| found.stx_attributes);
    match flags.is_ok_and(|flags| flags.contains(StatxAttributes::MOUNT_ROOT)) {
        true => Some(format!("{number}:{}.{:09}", found.mtime(), found.mtime_nsec())),
        false => Some(number),
    }
}
