//! Reads the directory, within bounds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use engine::ClusterError;
use plan::{Nad, Pod};

use crate::document::{self, Object};
use crate::status;

/// A manifest larger than this is not read. The API server's own limit for an object is 1.5 MiB.
const LARGEST_FILE: u64 = 2 * 1024 * 1024;
/// More files than this are not looked at.
const MOST_FILES: usize = 4096;
/// How many broken documents an error names.
const NAMED: usize = 3;

/// An object and where it is written.
#[derive(Debug)]
pub(crate) struct Defined<T> {
    pub(crate) object: T,
    pub(crate) place: String,
}

/// A document, or a whole file, that cannot be read.
#[derive(Debug)]
struct Broken {
    /// File, document, and why.
    what: String,
    /// Its text, where there is one.
    text: Option<String>,
}

type ByName<T> = BTreeMap<(String, String), Vec<Defined<T>>>;

/// All that the directory holds.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// By namespace and name.
    pub(crate) pods: ByName<Pod>,
    /// By namespace and name.
    pub(crate) nads: ByName<Nad>,
    broken: Vec<Broken>,
}

impl Manifests {
    pub(crate) fn read(dir: &Path, deadline: Instant) -> Result<Self, ClusterError> {
        let names = list(dir)?;
        let mut manifests = Self::default();
        for name in names {
            if Instant::now() >= deadline {
                let reason = format!("not done in time; it was at {name}");
                return Err(ClusterError::Unavailable { attempt: attempt(dir), reason });
            }
            manifests.add_file(dir, &name);
        }
        Ok(manifests)
    }

    fn add_file(&mut self, dir: &Path, name: &str) {
        let text = match read(&dir.join(name)) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(reason) => {
                self.broken.push(Broken { what: format!("{name}: {reason}"), text: None });
                return;
            }
        };
        for document in document::read(name, &text) {
            match document.outcome {
                Ok(objects) => objects.into_iter().for_each(|object| self.add(object, &document.place)),
                Err(reason) => self.broken.push(Broken {
                    what: format!("{}: {reason}", document.place),
                    text: Some(document.text.to_owned()),
                }),
            }
        }
    }

    fn add(&mut self, object: Object, place: &str) {
        let place = place.to_owned();
        match object {
            Object::Pod(pod) => {
                let key = (pod.namespace.clone(), pod.name.clone());
                self.pods.entry(key).or_default().push(Defined { object: pod, place });
            }
            Object::Nad(nad) => {
                let key = (nad.reference.namespace.clone(), nad.reference.name.clone());
                self.nads.entry(key).or_default().push(Defined { object: nad, place });
            }
        }
    }

    /// Names what cannot be read.
    pub(crate) fn unreadable(&self) -> Option<String> {
        name(self.broken.iter().collect())
    }

    /// Names what cannot be read and may define an object called `name`: the name is written in it, or nobody can tell.
    pub(crate) fn unreadable_that_may_hold(&self, wanted: &str) -> Option<String> {
        name(
            self.broken
                .iter()
                .filter(|broken| broken.text.as_ref().is_none_or(|text| text.contains(wanted)))
                .collect(),
        )
    }
}

fn name(broken: Vec<&Broken>) -> Option<String> {
    if broken.is_empty() {
        return None;
    }
    let mut named: Vec<_> = broken.iter().take(NAMED).map(|broken| broken.what.clone()).collect();
    if broken.len() > NAMED {
        named.push(format!("{} more", broken.len() - NAMED));
    }
    Some(named.join("; "))
}

/// Names of the manifests in `dir`, sorted.
pub(crate) fn list(dir: &Path) -> Result<Vec<String>, ClusterError> {
    let config = |reason| ClusterError::Config { attempt: attempt(dir), reason };
    let entries = fs::read_dir(dir).map_err(|error| {
        config(format!("{error}; the netconf key \"manifests\" must name a directory that can be read"))
    })?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| config(error.to_string()))?.file_name();
        let Some(name) = name.to_str().filter(|name| is_manifest(name)) else { continue };
        names.push(name.to_owned());
        if names.len() > MOST_FILES {
            return Err(config(format!("more than {MOST_FILES} manifests; use a directory of their own")));
        }
    }
    names.sort();
    Ok(names)
}

fn attempt(dir: &Path) -> String {
    format!("read the manifests in {}", dir.display())
}

/// Status files and the temporary ones they grow from are not manifests. Hidden entries are left out as shells do; a mounted
/// ConfigMap keeps its folders of data so.
fn is_manifest(name: &str) -> bool {
    let extension = [".yaml", ".yml", ".json"].iter().any(|extension| name.ends_with(extension));
    extension && !name.starts_with('.') && !name.ends_with(status::SUFFIX)
}

/// The text of a regular file; nothing for a directory. A pipe or device is refused unopened, since opening one can hang.
fn read(path: &Path) -> Result<Option<String>, String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // Removed since the directory was listed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return if fs::symlink_metadata(path).is_ok() {
                Err("a link to nothing".to_owned())
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(error.to_string()),
    };
    if metadata.is_dir() {
        return Ok(None);
    }
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(format!("larger than {LARGEST_FILE} bytes"));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| format!("not UTF-8 text: {error}"))
}
