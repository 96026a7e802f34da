//! Copies CNI plugins to a node whose own set lacks them, from an init container. k3s, for one, comes without macvlan, ipvlan,
//! static, dhcp and tuning.
//!
//! Other programs own plugins in the same directory: the distribution, an operator, the administrator. So a file that this
//! program did not install is never replaced, whatever its version, and what it did install is in a [`Record`] beside the plugins.

mod record;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{FlockOperation, flock};

use self::record::{Record, hash};
use crate::thin_entrypoint::files;
use crate::thin_entrypoint::flags::{self, Flag, HELP, Values, list, text};

const FLAGS: [Flag; 5] = [
    text("from", "/usr/src/cni-plugins/bin", "directory with the plugins to copy"),
    list("to", "directory of the node to copy them to"),
    list("include", "names, separated by commas: copy only these"),
    list("exclude", "names, separated by commas: do not copy these"),
    HELP,
];

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let values = match flags::parse(&FLAGS, arguments) {
        Ok(values) => values,
        Err(error) => return flags::unknown(&error),
    };
    if values.is_on("help") {
        let _ = io::stdout().write_all(flags::usage("install_plugins", &FLAGS).as_bytes());
        return ExitCode::SUCCESS;
    }
    match install(&values, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errors) => {
            for error in errors {
                let _ = writeln!(io::stderr(), "{error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// A plugin to copy.
struct Plugin {
    name: String,
    path: PathBuf,
    hash: String,
}

/// Copies to each directory. One that fails does not keep the others from being served; all errors are returned.
fn install(values: &Values, output: &mut dyn Write) -> Result<(), Vec<String>> {
    if values.list("to").is_empty() {
        return Err(vec!["no --to directory is given; --help shows what there is".to_owned()]);
    }
    let plugins = select(values).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    for dir in values.list("to") {
        match copy(&plugins, Path::new(dir), output) {
            Ok(failed) => errors.extend(failed),
            Err(error) => errors.push(not_writable(Path::new(dir), &error)),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn not_writable(dir: &Path, error: &io::Error) -> String {
    format!(
        "failed to copy plugins to {}: {error}; name a directory that can be written on the node (the chart's value \
         cni.binDir), or switch the copying off (referencePlugins.enabled)",
        dir.display()
    )
}

/// The plugins in `--from` that `--include` and `--exclude` leave, by name.
fn select(values: &Values) -> Result<Vec<Plugin>, String> {
    let from = PathBuf::from(values.text("from"));
    let failed = |error: io::Error| format!("failed to read the plugins in {}: {error}", from.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&from).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && from.join(&name).is_file() {
            names.push(name);
        }
    }
    names.sort_unstable();
    let (include, exclude) = (split(values.list("include")), split(values.list("exclude")));
    // A plugin left out of `exclude` by a typing error would be copied against the user's will.
    if let Some(unknown) =
        include.iter().chain(&exclude).find(|name| !names.iter().any(|known| known == *name))
    {
        return Err(format!(
            "there is no plugin {unknown:?} in {}, which --include or --exclude names; there are: {}",
            from.display(),
            names.join(", ")
        ));
    }
    let wanted = |name: &String| {
        (include.is_empty() || include.contains(&name.as_str())) && !exclude.contains(&name.as_str())
    };
    let plugin = |name: String| {
        let path = from.join(&name);
        let hash = hash(&path).map_err(failed)?;
        Ok(Plugin { name, path, hash })
    };
    names.into_iter().filter(wanted).map(plugin).collect()
}

fn split(lists: &[String]) -> Vec<&str> {
    lists.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// What there is under a plugin's name.
enum Found {
    Nothing,
    /// What this program put there, unchanged.
    Ours {
        current: bool,
    },
    /// Whatever it is, with the reason.
    Theirs(&'static str),
}

/// Copies what is missing or was installed earlier in another version. Returns an error for each plugin that could not be copied.
fn copy(plugins: &[Plugin], dir: &Path, output: &mut dyn Write) -> io::Result<Vec<String>> {
    fs::create_dir_all(dir)?;
    // Two installs on one node at once, as while a DaemonSet is replaced, would take each other's files for foreign ones.
    let lock = File::open(dir)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let mut record = Record::read(dir)?;
    let mut say = |plugin: &Plugin, what: &str| {
        // A closed stdout must not keep plugins from the node.
        let _ = writeln!(output, "{}: {what}", dir.join(&plugin.name).display());
    };
    let mut open = Vec::new();
    for plugin in plugins {
        match find(plugin, dir, &record)? {
            Found::Nothing => open.push((plugin, "installed")),
            Found::Ours { current: false } => open.push((plugin, "replaced by another version")),
            Found::Ours { current: true } => say(plugin, "up to date"),
            Found::Theirs(why) => say(plugin, &format!("left alone: {why}")),
        }
    }
    if open.is_empty() {
        return Ok(Vec::new());
    }
    // Before the first copy: killed in between, the next run must know its own files, those of this version and those of the last.
    open.iter().for_each(|(plugin, _)| record.add(&plugin.name, &plugin.hash));
    record.write(dir)?;
    let mut errors = Vec::new();
    for (plugin, done) in open {
        match files::install(&plugin.path, &dir.join(&plugin.name)) {
            Ok(_) => {
                record.set(&plugin.name, &plugin.hash);
                say(plugin, done);
            }
            Err(error) => {
                errors.push(format!("failed to copy {} to {}: {error}", plugin.path.display(), dir.display()))
            }
        }
    }
    record.write(dir)?;
    Ok(errors)
}

fn find(plugin: &Plugin, dir: &Path, record: &Record) -> io::Result<Found> {
    let path = dir.join(&plugin.name);
    // Not followed: k3s links its plugins to folders that this container may not see.
    let metadata = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        found => found?,
    };
    if !metadata.is_file() || !record.names(&plugin.name) {
        return Ok(Found::Theirs("another program installed it"));
    }
    let found = hash(&path)?;
    if !record.has(&plugin.name, &found) {
        return Ok(Found::Theirs("another program changed it"));
    }
    Ok(Found::Ours { current: found == plugin.hash })
}

#[cfg(test)]
mod tests;
