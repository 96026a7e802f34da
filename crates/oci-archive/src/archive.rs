//! The archive: an OCI layout, as one tar file or as a folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::image::{Blob, Descriptor, json_blob};
use crate::{Error, Image, Packed};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Writes images into one archive, in a file that replaces `path` when it is complete. Returns the packed images.
///
/// Images of one reference, which are for different machines, become one image under that reference, of which a reader takes
/// what fits its machine. containerd takes the names from the index' annotation `io.containerd.image.name`; other tools read
/// `org.opencontainers.image.ref.name`.
///
/// # Errors
/// When a reference is incomplete or given to two images for one platform, a layer cannot be packed or the file cannot be written.
pub fn write_archive(path: &Path, images: &[Image]) -> Result<Vec<Packed>, Error> {
    let layout = Layout::of(images)?;
    replace(path, &layout.files).map_err(|source| Error::Archive { path: path.to_owned(), source })?;
    Ok(layout.packed)
}

/// Writes images as an OCI layout into the folder `path`, which is made where it is missing. What it holds of earlier images stays,
/// unnamed. Else as [`write_archive()`].
///
/// # Errors
/// As [`write_archive()`].
pub fn write_layout(path: &Path, images: &[Image]) -> Result<Vec<Packed>, Error> {
    let layout = Layout::of(images)?;
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.join("blobs/sha256"))?;
        // Blobs first, the index last: a reader that sees the index finds all that it names.
        layout.files.iter().rev().try_for_each(|(name, bytes)| fs::write(path.join(name), bytes))
    };
    write().map_err(|source| Error::Archive { path: path.to_owned(), source })?;
    Ok(layout.packed)
}

/// Images as the files of an OCI layout.
struct Layout {
    packed: Vec<Packed>,
    files: Vec<(String, Vec<u8>)>,
}

impl Layout {
    fn of(images: &[Image]) -> Result<Self, Error> {
        let mut packed = Vec::new();
        let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        // In the order in which the references first came.
        let mut named: Vec<(&String, Vec<Descriptor>)> = Vec::new();
        for image in images {
            let one = image.pack()?;
            for reference in &image.references {
                match named.iter_mut().find(|(known, _)| *known == reference) {
                    Some((_, platforms)) => platforms.push(one.descriptor()),
                    None => named.push((reference, vec![one.descriptor()])),
                }
            }
            blobs.extend(
                one.blobs.iter().chain([&one.manifest]).map(|blob| (blob.digest.clone(), blob.bytes.clone())),
            );
            packed.push(one);
        }
        let mut manifests = Vec::new();
        for (reference, platforms) in named {
            let (descriptor, blob) = join(reference, platforms)?;
            blobs.extend(blob.map(|blob| (blob.digest, blob.bytes)));
            manifests.push(name(descriptor, reference)?);
        }
        let mut files = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index(&manifests).bytes),
        ];
        files.extend(
            blobs
                .into_iter()
                .map(|(digest, bytes)| (format!("blobs/{}", digest.replacen(':', "/", 1)), bytes)),
        );
        Ok(Self { packed, files })
    }
}

/// What stands for an image in the index: its one manifest, or an index of its own over the platforms.
fn join(reference: &str, mut platforms: Vec<Descriptor>) -> Result<(Descriptor, Option<Blob>), Error> {
    if platforms.len() == 1 {
        return Ok((platforms.remove(0), None));
    }
    for (at, one) in platforms.iter().enumerate() {
        if platforms[..at].iter().any(|other| other.platform == one.platform) {
            return Err(Error::Platform { reference: reference.to_owned() });
        }
    }
    let index = index(&platforms);
    Ok((index.descriptor(), Some(index)))
}

fn index(manifests: &[Descriptor]) -> Blob {
    json_blob(INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
}

fn name(mut descriptor: Descriptor, reference: &str) -> Result<Descriptor, Error> {
    let bad = || Error::Reference { reference: reference.to_owned() };
    let (name, tag) = reference.rsplit_once(':').ok_or_else(bad)?;
    if tag.is_empty() || tag.contains('/') || !name.contains('/') {
        return Err(bad());
    }
    descriptor.annotations = BTreeMap::from([
        ("io.containerd.image.name".to_owned(), reference.to_owned()),
        ("org.opencontainers.image.ref.name".to_owned(), tag.to_owned()),
    ]);
    Ok(descriptor)
}

/// Beside the target first, so that a reader never sees half an archive.
fn replace(path: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".writing");
    let fresh = Path::new(&fresh);
    let mut builder = Builder::new(BufWriter::new(File::create(fresh)?));
    for (name, bytes) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, bytes.as_slice())?;
    }
    builder.into_inner()?.flush()?;
    fs::rename(fresh, path)
}
