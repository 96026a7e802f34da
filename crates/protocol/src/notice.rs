//! Telling the daemon what a call came to, without waiting for it.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::message::Notice;
use crate::{LARGEST_NOTICE, NOTICES};

/// Sends `notice` to the daemon whose folder is `dir`, if it is there and has room. Whoever counts must be ready to miss some; a
/// call must not become slower because nobody counts.
pub fn notify(dir: &Path, notice: &Notice) {
    let Ok(text) = serde_json::to_vec(notice) else { return };
    if text.len() > LARGEST_NOTICE {
        return;
    }
    // What fails here fails for want of a daemon, which others report.
    let _ = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(&text, dir.join(NOTICES))
    });
}
