//! Container images as OCI archives, written without a container engine.
//!
//! A [`Layer`] is filled with files, links and folders, one or more layers and a [`Config`] make an [`Image`], and
//! [`write_archive()`] puts images into one file that `ctr images import`, `docker load`, `podman load`, `skopeo` and k3s'
//! folder of images take; [`write_layout()`] makes a folder of the same. The same content gives the same bytes: entries are sorted, times are zero, owners are root.
//!
//! Left out: reading images, and talking to registries.

mod archive;
mod error;
mod image;
mod layer;
mod root;

pub use archive::{write_archive, write_layout};
pub use error::Error;
pub use image::{Blob, Config, Descriptor, Image, Packed, Platform};
pub use layer::Layer;
