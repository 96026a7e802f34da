//! Look up, on the node's disk: what the netconf or a NAD without configuration refers to.

use std::collections::BTreeMap;
use std::path::Path;

use libcni::{Network, load};
use plan::{NadLookup, NadRef, NetConf, OnDisk, Wanted};

/// Reads what is wanted. What cannot be read is an answer: only the plan knows whether it is needed.
pub(crate) fn read(netconf: &NetConf, wanted: &Wanted, nads: &BTreeMap<NadRef, NadLookup>) -> OnDisk {
    let paths = wanted.files.iter().map(|path| (path.clone(), network_at(netconf, Path::new(path))));
    let chain = wanted.auxiliary_chain.as_ref().map(|chain| load::folder(&chain.dir, &chain.name));
    let (aux_chain, aux_chain_error) = match chain.transpose() {
        Ok(plugins) => (plugins.unwrap_or_default(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    OnDisk { conf_dir: conf_dir(netconf, wanted, nads), paths: paths.collect(), aux_chain, aux_chain_error }
}

fn conf_dir(
    netconf: &NetConf,
    wanted: &Wanted,
    nads: &BTreeMap<NadRef, NadLookup>,
) -> Vec<(String, Result<Vec<u8>, String>)> {
    if !wanted.needs_conf_dir(nads) {
        return Vec::new();
    }
    match load::directory(&netconf.conf_dir) {
        Ok(files) => files.into_iter().map(|(name, read)| (name, read.map_err(|e| e.to_string()))).collect(),
        Err(error) => vec![(String::new(), Err(error.to_string()))],
    }
}

/// The network that a path of the netconf names: a file, or the first configuration of a directory that does not
/// make the runtime call us.
fn network_at(netconf: &NetConf, path: &Path) -> Result<Network, String> {
    if !path.is_dir() {
        return load::file(path).map_err(|error| error.to_string());
    }
    let files = load::directory(path).map_err(|error| error.to_string())?;
    let mut passed = Vec::new();
    for (name, _) in files {
        let network = load::file(&path.join(&name)).map_err(|error| error.to_string())?;
        if netconf.own_plugin(&network).is_none() {
            return Ok(network);
        }
        passed.push(name);
    }
    let but = match passed.as_slice() {
        [] => String::new(),
        passed => format!(" but what calls Multus itself ({})", passed.join(", ")),
    };
    Err(format!("no CNI configuration in {}{but}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use plan::PodIdentity;

    use super::*;

    fn read_at(dir: &Path, cluster_network: &Path) -> OnDisk {
        let netconf = serde_json::json!({"clusterNetwork": cluster_network, "confDir": dir, "auxiliaryCNIChainName": "aux"});
        let netconf = NetConf::parse(netconf.to_string().as_bytes()).unwrap();
        let wanted = plan::wanted(&netconf, None, &PodIdentity::default()).unwrap();
        read(&netconf, &wanted, &BTreeMap::new())
    }

    fn primary(of: &OnDisk) -> Result<&str, &str> {
        let found = of.paths.values().next().unwrap();
        found.as_ref().map(|network| network.name.as_str()).map_err(String::as_str)
    }

    #[test]
    fn our_own_file_is_not_the_primary_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("00-multus.conf"), r#"{"name":"m","type":"multus"}"#).unwrap();
        fs::write(dir.path().join("01.conflist"), r#"{"name":"s","plugins":[{"type":"multus-shim"}]}"#)
            .unwrap();
        let told = format!(
            "no CNI configuration in {} but what calls Multus itself (00-multus.conf, 01.conflist)",
            dir.path().display()
        );
        assert_eq!(primary(&read_at(dir.path(), dir.path())), Err(told.as_str()));
        fs::write(dir.path().join("10.conf"), r#"{"name":"good","type":"t"}"#).unwrap();
        assert_eq!(primary(&read_at(dir.path(), dir.path())), Ok("good"));
        // A file that is named is what it is; the plan refuses it.
        assert_eq!(primary(&read_at(dir.path(), &dir.path().join("00-multus.conf"))), Ok("m"));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("10.conf"), r#"{"name":"good","type":"t"}"#).unwrap();
        fs::create_dir(dir.path().join("aux")).unwrap();
        fs::write(dir.path().join("aux/1.conf"), r#"{"type":"one"}"#).unwrap();
        let disk = read_at(dir.path(), &dir.path().join("10.conf"));
        assert_eq!((disk.aux_chain.len(), disk.aux_chain_error), (1, None));
        fs::write(dir.path().join("aux/2.conf"), "{").unwrap();
        let disk = read_at(dir.path(), &dir.path().join("10.conf"));
        assert!(disk.aux_chain.is_empty());
        let error = disk.aux_chain_error.unwrap();
        assert!(error.contains("aux/2.conf"), "{error}");
    }

    #[test]
    fn n13_one_unreadable_entry_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let netconf = |conf_dir: &Path| {
            let netconf = serde_json::json!({"clusterNetwork": "good", "confDir": conf_dir});
            NetConf::parse(netconf.to_string().as_bytes()).unwrap()
        };
        let conf_dir = |netconf: &NetConf| {
            let wanted = plan::wanted(netconf, None, &PodIdentity::default()).unwrap();
            read(netconf, &wanted, &BTreeMap::new()).conf_dir
        };
        fs::write(dir.path().join("10.conf"), vec![b' '; (1 << 20) + 1]).unwrap();
        fs::write(dir.path().join("20.conf"), "{}").unwrap();
        let found = conf_dir(&netconf(dir.path()));
        let [(first, Err(why)), (second, Ok(_))] = &found[..] else { panic!("{}", found.len()) };
        assert_eq!((first.as_str(), second.as_str()), ("10.conf", "20.conf"));
        assert!(why.contains("larger than"), "{why}");
        let found = conf_dir(&netconf(&dir.path().join("20.conf")));
        let [(folder, Err(why))] = &found[..] else { panic!("{}", found.len()) };
        assert!(folder.is_empty() && why.contains("20.conf"), "{why}");
    }
}
