//! From the daemon's configuration and its environment to what its parts are started with.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use daemon::{Config, Options as KubeOptions, PerNodeCertificate, Settings, SharedLog};
use engine::Level;
use kube_cluster::certificate::NodeCertificate;
use kube_cluster::{Kubelet, Source};
use node_config::{Template, Wish, file, merge_from};

use crate::kubeconfig_generator;
use crate::thin_entrypoint::install::Say;
use crate::thin_entrypoint::options::{Options, Own};
use crate::thin_entrypoint::stop::Stop;

/// The runtime's result cache, as this process sees it if it does.
const RUNTIME_CACHE: &str = "/var/lib/cni";
/// How long the first certificate may take to be signed; upstream waits as long.
const SIGNED: Duration = Duration::from_secs(120);

/// What is told by the environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    /// `MULTUS_NODE_NAME`.
    pub(super) node: Option<String>,
}

impl Environment {
    pub(super) fn of(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        Self { node: variable("MULTUS_NODE_NAME").filter(|name| !name.is_empty()) }
    }
}

/// A certificate of this node's own, and the kubeconfig that uses it.
pub(super) struct OwnCertificate {
    certificate: NodeCertificate,
    kubeconfig: PathBuf,
}

pub(super) fn certificate(
    config: &Config,
    environment: &Environment,
) -> Result<Option<OwnCertificate>, String> {
    let Some(PerNodeCertificate { bootstrap, dir, duration }) = config.certificate.clone() else {
        return Ok(None);
    };
    let node = environment.node.clone().ok_or(
        "error getting node name for perNodeCertificate, please check manifest to have MULTUS_NODE_NAME",
    )?;
    let duration = kubeconfig_generator::duration(&duration)?;
    let kubeconfig = own_kubeconfig(&dir);
    Ok(Some(OwnCertificate { certificate: NodeCertificate { node, dir, bootstrap, duration }, kubeconfig }))
}

fn own_kubeconfig(dir: &std::path::Path) -> PathBuf {
    dir.join("multus-daemon.kubeconfig")
}

impl OwnCertificate {
    /// Renews it in a thread of its own from now on; returns when there is one. It and its kubeconfig stay at the end: during an upgrade
    /// the next daemon uses them already.
    pub(super) fn follow(self, log: &SharedLog) -> Result<(), String> {
        std::fs::create_dir_all(&self.certificate.dir)
            .map_err(|error| format!("cannot create {}: {error}", self.certificate.dir.display()))?;
        let stop = Stop::on_signals().map_err(|error| format!("cannot listen for signals: {error}"))?;
        let (ready, is_ready) = channel();
        let log = Arc::clone(log);
        let keeper = std::thread::spawn(move || {
            // Nobody waits any more where it has come too late.
            let ready = || ready.send(()).unwrap_or_default();
            let kept = kubeconfig_generator::renew(&self.certificate, &self.kubeconfig, &stop, ready);
            kept.inspect_err(|why| log.line(Level::Error, format_args!("certificate: {why}")))
        });
        match is_ready.recv_timeout(SIGNED) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                Err("certificate was not signed in time; is cert-approver running?".to_owned())
            }
            // Asked to end before there was one.
            Err(RecvTimeoutError::Disconnected) => keeper.join().unwrap_or(Ok(())),
        }
    }
}

/// Takes the kubeconfig of the node's own certificate away, where the install goes from the node.
pub(super) fn forget_certificate(config: &Config, say: Say<'_>) {
    let Some(certificate) = &config.certificate else { return };
    let kubeconfig = own_kubeconfig(&certificate.dir);
    if let Err(error) = file::remove(&kubeconfig) {
        say(&format!("cannot remove {}: {error}", kubeconfig.display()));
    }
}

/// The way to the API server.
pub(super) fn source(config: &Config) -> Source {
    if let Some(certificate) = &config.certificate {
        return Source::Kubeconfig(own_kubeconfig(&certificate.dir));
    }
    config.kubeconfig.clone().map_or(Source::Pod, Source::Kubeconfig)
}

pub(super) fn settings(config: &Config, environment: &Environment, source: Source) -> Settings {
    Settings {
        source,
        kube: KubeOptions {
            node: environment.node.clone(),
            spool: config.socket_dir.join("spool"),
            events: config.events,
            staleness_bound: config.staleness_bound,
            kubelet: Kubelet::default(),
        },
        socket_dir: config.socket_dir.clone(),
        cni_dir: config.cni_dir.clone(),
        calls_at_once: config.connection_limit,
        metrics: config.metrics,
    }
}

/// What the node's files are made from.
pub(super) fn node_files(config: &Config, environment: &Environment) -> Result<Options, String> {
    let own = own(config, environment)?;
    let owner = Some(config.owner.clone()).filter(|owner| !owner.is_empty());
    let merge = merge_from(&String::from_utf8_lossy(&config.netconf.to_bytes()))
        .map_err(|error| format!("daemon configuration: {error}"))?;
    Ok(Options {
        cleanup: false,
        bin_dirs: Vec::new(),
        conf_dir: config.cni_config_dir.clone(),
        autoconfig_dir: config.autoconfig_dir.clone(),
        bin_file: PathBuf::new(),
        multus_conf_dir: PathBuf::new(),
        conf_file: config.config_file.clone(),
        template: Template {
            plugin_type: "multus-shim".to_owned(),
            file_name: config.config_file_name.clone(),
            cni_version: config.forced_cni_version.clone(),
            force_cni_version: !config.forced_cni_version.is_empty(),
            override_name: config.override_network_name,
            members: Vec::new(),
            merge,
            owner: owner.or_else(|| own.as_ref().map(|own| format!("{}/{}", own.namespace, own.name))),
        },
        take_over_from: config.take_over_from.clone(),
        wish: wish(config)?,
        own,
        rename_primary: false,
        skip_watch: false,
        // An init container installs the shim; here its folder is mounted to be read.
        skip_binary: true,
        thin: false,
        skip_tls_verify: false,
        server: Err("the daemon writes no kubeconfig".to_owned()),
        service_account: PathBuf::new(),
        spool: config.socket_dir.join("spool"),
        journals: config.cni_dir.clone(),
        runtime_cache: PathBuf::from(RUNTIME_CACHE),
    })
}

fn wish(config: &Config) -> Result<Wish, String> {
    let wish = Wish {
        file: config.master_cni.clone(),
        network: config.default_network.clone(),
        required: config.require_default_network,
    };
    match (wish.file.is_empty(), wish.network.is_empty(), wish.required) {
        (false, false, _) => {
            Err("multusMasterCNI and defaultNetwork both name the primary network; set one of them"
                .to_owned())
        }
        (_, true, true) => Err("requireDefaultNetwork needs defaultNetwork".to_owned()),
        _ => Ok(wish),
    }
}

fn own(config: &Config, environment: &Environment) -> Result<Option<Own>, String> {
    if config.daemon_set.is_empty() {
        return Ok(None);
    }
    let node = environment
        .node
        .clone()
        .ok_or("daemonSet needs the node's name: set MULTUS_NODE_NAME from spec.nodeName")?;
    Own::parse(&config.daemon_set, node).map(Some)
}
