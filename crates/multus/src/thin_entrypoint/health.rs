//! `--healthy`: whether all is in place, found out from the node's files alone, for a probe. Nothing has to be kept up to date for
//! it, so it cannot be wrong about them.

use std::fs;

use node_config::sorts_before;

use super::kubeconfig;
use super::options::Options;

/// What is wrong; nothing when all is well.
pub(crate) fn troubles(options: &Options) -> Vec<String> {
    let mut troubles: Vec<String> = configuration(options).into_iter().collect();
    let missing = options.programs().into_iter().filter(|program| !program.is_in_place());
    troubles.extend(missing.map(|program| format!("{} is missing or different", program.path().display())));
    match kubeconfig::is_current(options) {
        Ok(true) => {}
        Ok(false) => {
            troubles.push(format!("{} is missing or outdated", options.kubeconfig_path().display()));
        }
        Err(error) => troubles.push(error.to_string()),
    }
    troubles
}

/// What is wrong with the configuration.
pub(crate) fn configuration(options: &Options) -> Option<String> {
    let Some(source) = &options.conf_file else {
        return options.place().trouble().or_else(|| default_network(options));
    };
    let name = source.file_name()?;
    let target = options.conf_dir.join(name);
    if fs::read(source).ok() != fs::read(&target).ok() {
        return Some(format!("{} is not as {}", target.display(), source.display()));
    }
    let name = name.to_string_lossy();
    let before = sorts_before(&options.conf_dir, &name)?;
    Some(format!("the runtime reads {before} before {name}"))
}

/// A default network that is required and has not come yet.
fn default_network(options: &Options) -> Option<String> {
    if !options.wish.required {
        return None;
    }
    let last = options.last_good().read(&options.autoconfig_dir);
    let fulfilled = last.is_some_and(|last| options.wish.is_fulfilled_by(&last));
    (!fulfilled).then(|| format!("waiting for the default network {:?}", options.wish.network))
}
