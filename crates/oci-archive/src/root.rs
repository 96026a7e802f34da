//! What programs expect to find on any Linux machine, for images that are not built on another image.

use crate::{Error, Layer};

const PASSWD: &str =
    "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";
/// Without it a C library may look for modules that are not there.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

impl Layer {
    /// Adds users, name service, `/tmp` and `/var/run`, which is `/run`: Go programs among others fail without some of them.
    ///
    /// # Errors
    /// When the layer already has something else in one of these places.
    pub fn minimal_root(&mut self) -> Result<&mut Self, Error> {
        self.file("/etc/passwd", PASSWD, 0o644)?
            .file("/etc/group", GROUP, 0o644)?
            .file("/etc/nsswitch.conf", NSSWITCH, 0o644)?
            .folder("/root", 0o700)?
            .folder("/run", 0o755)?
            .folder("/tmp", 0o1777)?
            .folder("/var/tmp", 0o1777)?
            .link("/var/run", "/run")
    }
}
