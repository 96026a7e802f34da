//! One layer: a sorted tree of files, links and folders, packed as a reproducible tar.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use crate::Error;
use crate::image::{Blob, digest};

/// Folders of which a layer made from nothing needs another mode than 0755.
const MODES: [(&str, u32); 2] = [("tmp", 0o1777), ("var/tmp", 0o1777)];

/// The content of a layer. Parent folders come by themselves.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
    plain: bool,
}

#[derive(Debug, Clone)]
enum Entry {
    Folder { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Link { target: String },
    HardLink { target: String },
}

impl Layer {
    /// A layer with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A layer that is packed without compression: larger, and made and imported in a fraction of the time.
    #[must_use]
    pub fn uncompressed() -> Self {
        Self { plain: true, ..Self::default() }
    }

    /// Adds a folder.
    ///
    /// # Errors
    /// When the path is not usable.
    pub fn folder(&mut self, path: &str, mode: u32) -> Result<&mut Self, Error> {
        self.add(path, Entry::Folder { mode })
    }

    /// Adds a file with the given content.
    ///
    /// # Errors
    /// When the path is not usable.
    pub fn file(&mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Result<&mut Self, Error> {
        self.add(path, Entry::File { mode, content: content.into() })
    }

    /// Adds a file of this machine; its mode and owner are not taken over.
    ///
    /// # Errors
    /// When the file cannot be read or the path is not usable.
    pub fn file_from(&mut self, path: &str, source: &Path, mode: u32) -> Result<&mut Self, Error> {
        let content = fs::read(source).map_err(|error| Error::Read {
            path: source.to_owned(),
            entry: path.trim_start_matches('/').to_owned(),
            source: error,
        })?;
        self.file(path, content, mode)
    }

    /// Adds a symbolic link; `target` is written as it is.
    ///
    /// # Errors
    /// When the path is not usable.
    pub fn link(&mut self, path: &str, target: &str) -> Result<&mut Self, Error> {
        self.add(path, Entry::Link { target: target.to_owned() })
    }

    /// Adds another name of a file that is in this layer already; to every reader it is a file of its own, and costs no space.
    ///
    /// # Errors
    /// When the path is not usable, or `target` names no file in this layer.
    pub fn hard_link(&mut self, path: &str, target: &str) -> Result<&mut Self, Error> {
        let target = target.trim_matches('/').to_owned();
        if !matches!(self.entries.get(&target), Some(Entry::File { .. })) {
            return Err(Error::Entry {
                entry: path.to_owned(),
                why: "the file that it links to is not in this layer",
            });
        }
        self.add(path, Entry::HardLink { target })
    }

    /// Paths of all entries but folders, without a leading slash.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(|(_, entry)| !matches!(entry, Entry::Folder { .. }))
            .map(|(name, _)| name.as_str())
    }

    fn add(&mut self, path: &str, entry: Entry) -> Result<&mut Self, Error> {
        let refuse = |why| Error::Entry { entry: path.to_owned(), why };
        let name = path.trim_matches('/');
        if name.is_empty() {
            return Err(refuse("it is the root"));
        }
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refuse("it has an empty part, '.' or '..'"));
        }
        for (end, _) in name.match_indices('/') {
            let parent = &name[..end];
            match self.entries.get(parent) {
                None => {
                    let mode =
                        MODES.iter().find(|(name, _)| *name == parent).map_or(0o755, |(_, mode)| *mode);
                    self.entries.insert(parent.to_owned(), Entry::Folder { mode });
                }
                Some(Entry::Folder { .. }) => {}
                Some(_) => return Err(refuse("a parent of it is a file or a link in the same layer")),
            }
        }
        if !matches!(entry, Entry::Folder { .. })
            && matches!(self.entries.get(name), Some(Entry::Folder { .. }))
        {
            return Err(refuse("it is a folder in the same layer"));
        }
        self.entries.insert(name.to_owned(), entry);
        Ok(self)
    }

    /// The layer as a tar, and the digest of the tar itself, which goes into the image's configuration.
    ///
    /// # Errors
    /// When an entry cannot be written, as with a name that tar cannot hold.
    pub(crate) fn pack(&self) -> Result<(Blob, String), Error> {
        let plain = self.tar()?;
        if self.plain {
            let blob = Blob::new("application/vnd.oci.image.layer.v1.tar", plain);
            let diff_id = blob.digest.clone();
            return Ok((blob, diff_id));
        }
        let mut zip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        let zipped = zip.write_all(&plain).and_then(|()| zip.finish());
        let zipped = zipped.map_err(|source| Error::Layer { entry: String::new(), source })?;
        Ok((Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", zipped), digest(&plain)))
    }

    fn tar(&self) -> Result<Vec<u8>, Error> {
        let mut builder = Builder::new(Vec::new());
        // Hard links last: a reader must have made what they link to.
        let (links, others): (Vec<_>, Vec<_>) =
            self.entries.iter().partition(|(_, entry)| matches!(entry, Entry::HardLink { .. }));
        for (name, entry) in others.into_iter().chain(links) {
            write(&mut builder, name, entry)
                .map_err(|source| Error::Layer { entry: name.clone(), source })?;
        }
        builder.into_inner().map_err(|source| Error::Layer { entry: String::new(), source })
    }
}

fn write(builder: &mut Builder<Vec<u8>>, name: &str, entry: &Entry) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    match entry {
        Entry::Folder { mode } => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            header.set_size(0);
            builder.append_data(&mut header, format!("{name}/"), io::empty())
        }
        Entry::File { mode, content } => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content.as_slice())
        }
        Entry::Link { target } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            builder.append_link(&mut header, name, target)
        }
        Entry::HardLink { target } => {
            header.set_entry_type(EntryType::Link);
            header.set_mode(0o755);
            header.set_size(0);
            builder.append_link(&mut header, name, target)
        }
    }
}
