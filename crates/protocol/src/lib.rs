//! What the shim on the host and the daemon in its pod say to each other: HTTP/1.1 over a unix socket, JSON, one connection a call.
//!
//! | call | asks |
//! |---|---|
//! | `POST /v1/lookup` | for NADs, for a pod, for the devices of a pod |
//! | `POST /v1/record` | to write a pod's network status and to post its events |
//! | `GET /healthz` | whether the daemon lives |
//! | `GET /readyz` | whether it can look up; if not, why |
//! | `POST /cni`, `POST /delegate` | what upstream's shim and upstream's hot-plug controller send ([`upstream`]) |
//!
//! What crosses the socket has Kubernetes' own shapes, so that shim and daemon can be of different builds; each message carries
//! the version of the protocol ([`Versions`]), and a daemon serves its own and the one before.
//!
//! The client side ([`SocketCluster`], [`http`]) is blocking, bounded in size and time, and brings no HTTP library: it is in a
//! process that lives for some milliseconds. The server side is not here; the daemon brings its own.
//!
//! Start reading at [`message`], then [`SocketCluster`].

pub mod http;
pub mod message;
mod notice;
mod socket;
pub mod upstream;
mod version;

pub use notice::notify;
pub use socket::{PATIENCE, SocketCluster, socket_path};
pub use version::{Versions, program};

/// The folder of the socket and of the spool, on the host.
pub const DEFAULT_DIR: &str = "/run/multus";
/// The socket's name in its folder.
pub const SOCKET: &str = "multus.sock";

/// The name of the socket for [notices](message::Notice).
pub const NOTICES: &str = "notices.sock";
/// The largest notice that is sent or read.
pub const LARGEST_NOTICE: usize = 32 << 10;

/// Path of a lookup.
pub const LOOKUP: &str = "/v1/lookup";
/// Path of a record.
pub const RECORD: &str = "/v1/record";

/// The largest request that the daemon reads. What a pod selects and its status are limited by the 256 KiB that Kubernetes gives to
/// all annotations of a pod; written as JSON within JSON that can double.
pub const LARGEST_REQUEST: usize = 1 << 20;
/// The largest answer that the shim reads: the NADs of one pod.
pub const LARGEST_ANSWER: usize = 4 << 20;
