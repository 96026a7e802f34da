//! What the journals of a node hold, for whoever looks on from outside.

use std::io;
use std::path::Path;

use crate::journal::{Loaded, Store};

/// Counts of a node's journals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Sandboxes that have one.
    pub sandboxes: usize,
    /// Attachments that they name.
    pub attachments: usize,
    /// Attachments whose DEL was set aside after it had failed several times; housekeeping tries them again.
    pub parked: usize,
    /// Journals that tell nothing.
    pub broken: usize,
}

/// Counts the journals in `cni_dir`. It takes no lock: what is being written meanwhile is counted as it was before or is after.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn held(cni_dir: &Path) -> io::Result<Held> {
    let store = Store::new(cni_dir);
    let mut held = Held::default();
    for id in store.container_ids()? {
        match store.load(&id) {
            Loaded::Missing => {}
            Loaded::Broken(_) => held.broken += 1,
            Loaded::Found(elements) => {
                held.sandboxes += 1;
                held.attachments += elements.len();
                let parked =
                    elements.iter().filter(|element| element.own.as_ref().is_some_and(|own| own.parked));
                held.parked += parked.count();
            }
        }
    }
    Ok(held)
}
