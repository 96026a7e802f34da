//! What can go wrong while an image is written.

use std::io;
use std::path::PathBuf;

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file on this machine that should go into a layer could not be read.
    #[error("read {path} to put it into an image layer as /{entry}: {source}", path = .path.display())]
    Read {
        /// The file on this machine.
        path: PathBuf,
        /// Its path in the image.
        entry: String,
        /// What the system said.
        source: io::Error,
    },
    /// The path of an entry is not usable.
    #[error("an image layer cannot have the entry {entry:?}: {why}")]
    Entry {
        /// The path as it was given.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The layer's tar stream could not be written.
    #[error("write /{entry} into an image layer: {source}")]
    Layer {
        /// The entry's path in the image.
        entry: String,
        /// What the system said.
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("write the image archive {path}: {source}", path = .path.display())]
    Archive {
        /// The file on this machine.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A reference that `ctr images import` would not take as a name.
    #[error("{reference:?} does not name an image: write it in full, as in registry.example/name:tag")]
    Reference {
        /// The reference as it was given.
        reference: String,
    },
    /// A reference stands for one image per platform.
    #[error("two images for the same platform are called {reference:?}; give one of them another name")]
    Platform {
        /// The reference as it was given.
        reference: String,
    },
}
