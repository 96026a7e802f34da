//! Network configurations in files and folders, found and read as libcni does.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::{ConfigError, Network, Plugin};

/// No configuration is larger; what is, is not read into memory.
const LARGEST: u64 = 1 << 20;

/// A configuration file's name, and what is in it or why that cannot be read.
pub type Content = (String, Result<Vec<u8>, ConfigError>);

/// The content of every `.conf`, `.json` and `.conflist` file of a directory, sorted by file name. A missing
/// directory holds none (C-84); a file that vanishes meanwhile is passed over, and one that cannot be read hides no
/// other.
pub fn directory(dir: &Path) -> Result<Vec<Content>, ConfigError> {
    let mut files = Vec::new();
    for path in names(dir, &["conf", "json", "conflist"])? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        match bytes(&path) {
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            read => files.push((name.unwrap_or_default(), read)),
        }
    }
    Ok(files)
}

/// One file. A `.conflist` gets the plugins of its folder `<dir>/<list name>/*.conf` appended, unless
/// `loadOnlyInlinedPlugins` (C-5, C-83), and has to have a plugin in the end; any other file holds a single
/// configuration.
pub fn file(path: &Path) -> Result<Network, ConfigError> {
    let bytes = bytes(path)?;
    let in_file = |source| ConfigError::File { path: path.to_owned(), source: Box::new(source) };
    if path.extension().is_none_or(|extension| extension != "conflist") {
        return Network::parse_single(&bytes).map_err(in_file);
    }
    let mut network = Network::parse_list(&bytes).map_err(in_file)?;
    // The name becomes part of a path: one with a separator must not lead out of the directory.
    if !network.load_only_inlined_plugins && crate::validate::network_name(&network.name).is_ok() {
        network.append_plugins(folder(path.parent().unwrap_or(Path::new(".")), &network.name)?);
    }
    if network.plugins.is_empty() {
        return Err(in_file(ConfigError::NoPlugins));
    }
    Ok(network)
}

/// The plugins of `<dir>/<network_name>/*.conf` in the order of the file names.
pub fn folder(dir: &Path, network_name: &str) -> Result<Vec<Plugin>, ConfigError> {
    let mut plugins = Vec::new();
    for path in names(&dir.join(network_name), &["conf"])? {
        let plugin = Plugin::parse(&bytes(&path)?);
        plugins.push(plugin.map_err(|source| ConfigError::File { path, source: Box::new(source) })?);
    }
    Ok(plugins)
}

/// The network of this name: lists first, then single configurations, each in the order of the file names
/// (C-82). A file that cannot be read as a configuration before the match fails the search, as in libcni:
/// which network is meant would otherwise depend on a typing error.
pub fn find(dir: &Path, name: &str) -> Result<Network, ConfigError> {
    let lists = names(dir, &["conflist"])?;
    let singles = names(dir, &["conf", "json"])?;
    if lists.is_empty() && singles.is_empty() {
        return Err(ConfigError::NoConfigs(dir.to_owned()));
    }
    for path in lists.iter().chain(&singles) {
        let network = file(path)?;
        if network.name == name {
            return Ok(network);
        }
    }
    Err(ConfigError::NotFound { dir: dir.to_owned(), name: name.to_owned() })
}

/// The files of a directory with one of these extensions, sorted; directories are passed over.
fn names(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let wanted = path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted));
        if wanted && !entry.file_type().map_err(failed)?.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The bytes of a regular file of bounded size. Opening does not block, whatever lies there.
fn bytes(path: &Path) -> Result<Vec<u8>, ConfigError> {
    read_bounded(path, LARGEST).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// Reads a regular file of at most `largest` bytes.
pub(crate) fn read_bounded(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        let reason = format!("larger than {largest} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
