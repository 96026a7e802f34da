//! The end of an install on this node: what is removed, what stays, and the words about it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use node_config::{Program, Removal, Usage, file};

use super::install::{Installation, Say};
use super::options::Options;

/// Removes what this install has put on the node, and says what became of it.
pub(crate) fn remove(installation: &mut Installation<'_>) -> String {
    let mut removed = Vec::new();
    let mut kept = Vec::new();
    // First: from here on the runtime does not call us any more.
    match installation.remove_configuration() {
        Ok(removals) => removals.into_iter().for_each(|removal| match removal {
            Removal::Removed(path) => removed.push(path),
            Removal::Kept(path, reason) => kept.push(format!("{} ({reason})", path.display())),
        }),
        Err(error) => kept.push(error),
    }
    if !kept.is_empty() {
        // Another install's configuration needs what lies beside it.
        return words(&removed, &kept);
    }
    installation.end();
    let (options, programs) = installation.parts();
    match folder(options) {
        Ok(true) => removed.push(options.own_dir()),
        Ok(false) => {}
        Err(error) => kept.push(error),
    }
    let usage = Usage::of(&options.journals, &options.runtime_cache);
    for program in programs.iter_mut().chain(&mut options.companions()) {
        match executable(program, &usage) {
            Ok(true) => removed.push(program.path().to_owned()),
            Ok(false) => {}
            Err(reason) => kept.push(format!("{} ({reason})", program.path().display())),
        }
    }
    if options.skip_binary {
        let plugin = &options.template.plugin_type;
        kept.push(format!("the plugin {plugin} (for the program to remove that has installed it)"));
    }
    words(&removed, &kept)
}

/// Removes the folder of records, when nobody writes or drains them any more.
pub(crate) fn spool(dir: &Path, say: Say<'_>) {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => say(&format!(
            "{} stays: it holds network statuses that could not be written; the next install writes them",
            dir.display()
        )),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            say(&format!("cannot remove {}: {error}", dir.display()));
        }
        _ => {}
    }
}

/// Whether it was there and is gone, or why it stays. Pods that run may need it for their DEL: CRI-O calls what is in its cache.
pub(crate) fn executable(program: &mut Program, usage: &Usage) -> Result<bool, String> {
    if !program.is_in_place() {
        let is_others = program.path().exists();
        return if is_others { Err("it is not the one of this image".to_owned()) } else { Ok(false) };
    }
    match usage {
        Usage::Unused => program.remove().map_err(|error| error.to_string()),
        Usage::Used(what) => Err(format!("{what}; delete it when these pods are gone")),
        Usage::Unseen(reason) => Err(format!(
            "pods that were started with it may need it, which cannot be told here: {reason}; delete it when they are gone"
        )),
    }
}

/// The kubeconfig, and the primary network as it was last. What others have put there stays. Returns whether there was a folder.
fn folder(options: &Options) -> Result<bool, String> {
    let kubeconfig = options.kubeconfig_path();
    file::remove(&kubeconfig).map_err(|error| format!("cannot remove {}: {error}", kubeconfig.display()))?;
    options.last_good().forget().map_err(|error| error.to_string())?;
    match fs::remove_dir(options.own_dir()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
            Err(format!("{} (it holds files of others)", options.own_dir().display()))
        }
        Err(error) => Err(format!("cannot remove {}: {error}", options.own_dir().display())),
    }
}

/// The last words about a node.
pub(crate) fn words(removed: &[PathBuf], kept: &[String]) -> String {
    let removed: Vec<String> = removed.iter().map(|path| path.display().to_string()).collect();
    let none = || "nothing".to_owned();
    let removed = if removed.is_empty() { none() } else { removed.join(", ") };
    let kept = if kept.is_empty() { none() } else { kept.join(", ") };
    format!("removed from the node: {removed}; left on it: {kept}")
}
