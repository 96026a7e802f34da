//! The archive: an OCI layout in one tar file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::image::{Blob, Descriptor};
use crate::{Error, Image, Packed};

/// Writes images into one archive, in a file that replaces `path` when it is complete. Returns the packed images.
///
/// containerd takes the names from the index' annotation `io.containerd.image.name`; other tools read
/// `org.opencontainers.image.ref.name`.
///
/// # Errors
/// When a reference is incomplete, a layer cannot be packed or the file cannot be written.
pub fn write_archive(path: &Path, images: &[Image]) -> Result<Vec<Packed>, Error> {
    let mut packed = Vec::new();
    let mut manifests = Vec::new();
    let mut blobs: BTreeMap<String, Blob> = BTreeMap::new();
    for image in images {
        let one = image.pack()?;
        for reference in &image.references {
            manifests.push(named(&one, reference)?);
        }
        for blob in one.blobs.iter().chain([&one.manifest]) {
            blobs.insert(blob.digest.clone(), blob.clone());
        }
        packed.push(one);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    let index = index.to_string();
    let files = layout(&index, &blobs);
    replace(path, &files).map_err(|source| Error::Archive { path: path.to_owned(), source })?;
    Ok(packed)
}

fn named(image: &Packed, reference: &str) -> Result<Descriptor, Error> {
    let bad = || Error::Reference { reference: reference.to_owned() };
    let (name, tag) = reference.rsplit_once(':').ok_or_else(bad)?;
    if tag.is_empty() || tag.contains('/') || !name.contains('/') {
        return Err(bad());
    }
    let mut descriptor = image.manifest.descriptor();
    descriptor.platform = Some(image.platform.clone());
    descriptor.annotations = BTreeMap::from([
        ("io.containerd.image.name".to_owned(), reference.to_owned()),
        ("org.opencontainers.image.ref.name".to_owned(), tag.to_owned()),
    ]);
    Ok(descriptor)
}

fn layout<'a>(index: &'a str, blobs: &'a BTreeMap<String, Blob>) -> Vec<(String, &'a [u8])> {
    let mut files: Vec<(String, &[u8])> = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
        ("index.json".to_owned(), index.as_bytes()),
    ];
    for (digest, blob) in blobs {
        files.push((format!("blobs/{}", digest.replacen(':', "/", 1)), blob.bytes.as_slice()));
    }
    files
}

/// Beside the target first, so that a reader never sees half an archive.
fn replace(path: &Path, files: &[(String, &[u8])]) -> io::Result<()> {
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
        builder.append_data(&mut header, name, *bytes)?;
    }
    builder.into_inner()?.flush()?;
    fs::rename(fresh, path)
}
