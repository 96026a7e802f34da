//! Flags and environment (upstream §7.1).

use std::path::{Path, PathBuf};

use super::flags::{self, Flag, HELP, switch, text};

/// Where the kubelet puts the pod's token and the cluster's authority.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

const FLAGS: [Flag; 23] = [
    text("additional-bin-dir", "", "directory that the plugin searches before CNI_PATH"),
    switch("cleanup-config-on-exit", false, "remove the CNI configuration when this ends"),
    text("cni-bin-dir", "/host/opt/cni/bin", "directory of CNI plugins"),
    text("cni-conf-dir", "/host/etc/cni/net.d", "directory of CNI configurations"),
    text("cni-version", "", "CNI version of the configuration; must be the primary's"),
    switch("force-cni-version", false, ""),
    text("global-namespaces", "", "namespaces, by comma, that pods may refer to in spite of isolation"),
    HELP,
    text("multus-autoconfig-dir", "/host/etc/cni/net.d", "directory to find the primary network in"),
    text("multus-bin-file", "/usr/src/multus-cni/bin/multus", "the plugin to install"),
    text(
        "multus-cni-conf-dir",
        "/host/etc/cni/multus/net.d",
        "directory of configurations that NADs may name",
    ),
    text("multus-conf-file", "auto", "configuration to install, or auto to generate one"),
    text(
        "multus-kubeconfig-file-host",
        "/etc/cni/net.d/multus.d/multus.kubeconfig",
        "the kubeconfig's path on the host",
    ),
    text("multus-log-file", "", "log file of the plugin"),
    text("multus-log-level", "", "debug, verbose, error or panic"),
    switch("multus-log-to-stderr", true, "whether the plugin logs to stderr"),
    text("multus-master-cni-file-name", "", "file of the primary network in the autoconfig directory"),
    switch("namespace-isolation", false, "keep pods to networks of their own namespace"),
    switch("override-network-name", false, "use the primary network's name"),
    text("readiness-indicator-file", "", "file that tells that the primary network is ready"),
    switch("rename-conf-file", false, "rename the primary network's file to .old"),
    switch("skip-config-watch", false, "do not follow changes of the primary network's file"),
    switch("skip-multus-binary-copy", false, "do not install the plugin"),
];
const SKIP_TLS_VERIFY: Flag = switch("skip-tls-verify", false, "");

/// What the program was asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The list of flags.
    Help(String),
    /// Flags that it does not know.
    Unknown(String),
    /// To run.
    Run(Box<Options>),
}

/// All that steers it.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) additional_bin_dir: String,
    pub(crate) cleanup: bool,
    pub(crate) bin_dir: PathBuf,
    pub(crate) conf_dir: PathBuf,
    pub(crate) cni_version: String,
    pub(crate) force_cni_version: bool,
    pub(crate) global_namespaces: String,
    pub(crate) autoconfig_dir: PathBuf,
    pub(crate) bin_file: PathBuf,
    pub(crate) multus_conf_dir: PathBuf,
    /// `None` to generate it.
    pub(crate) conf_file: Option<PathBuf>,
    pub(crate) kubeconfig_on_host: String,
    pub(crate) log_file: String,
    pub(crate) log_level: String,
    pub(crate) log_to_stderr: bool,
    pub(crate) primary_file: String,
    pub(crate) namespace_isolation: bool,
    pub(crate) override_network_name: bool,
    pub(crate) readiness_file: String,
    pub(crate) rename_primary: bool,
    pub(crate) skip_watch: bool,
    pub(crate) skip_binary: bool,
    pub(crate) skip_tls_verify: bool,
    /// `proto://host:port` of the API server, or why it is not known; [`Options::check_files`] tells it after what is missing.
    pub(crate) server: Result<String, String>,
    /// The directory with `token` and `ca.crt`.
    pub(crate) service_account: PathBuf,
    /// Where ADDs leave records.
    pub(crate) spool: PathBuf,
}

impl Options {
    /// Reads flags and environment.
    pub(crate) fn read(
        arguments: &[String],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Asked, String> {
        let all: Vec<Flag> = FLAGS.into_iter().chain([SKIP_TLS_VERIFY]).collect();
        let values = match flags::parse(&all, arguments) {
            Ok(values) => values,
            Err(error) => return Ok(Asked::Unknown(error)),
        };
        if values.is_on("help") {
            return Ok(Asked::Help(flags::usage("thin_entrypoint", &all)));
        }
        let path = |name| PathBuf::from(values.text(name));
        let conf_file = values.text("multus-conf-file");
        Ok(Asked::Run(Box::new(Self {
            additional_bin_dir: values.text("additional-bin-dir"),
            cleanup: values.is_on("cleanup-config-on-exit"),
            bin_dir: path("cni-bin-dir"),
            conf_dir: path("cni-conf-dir"),
            cni_version: values.text("cni-version"),
            force_cni_version: values.is_on("force-cni-version"),
            global_namespaces: values.text("global-namespaces"),
            autoconfig_dir: path("multus-autoconfig-dir"),
            bin_file: path("multus-bin-file"),
            multus_conf_dir: path("multus-cni-conf-dir"),
            conf_file: (conf_file != "auto").then(|| PathBuf::from(conf_file)),
            kubeconfig_on_host: values.text("multus-kubeconfig-file-host"),
            log_file: values.text("multus-log-file"),
            log_level: log_level(&values.text("multus-log-level"))?,
            log_to_stderr: values.is_on("multus-log-to-stderr"),
            primary_file: values.text("multus-master-cni-file-name"),
            namespace_isolation: values.is_on("namespace-isolation"),
            override_network_name: values.is_on("override-network-name"),
            readiness_file: values.text("readiness-indicator-file"),
            rename_primary: values.is_on("rename-conf-file"),
            skip_watch: values.is_on("skip-config-watch"),
            skip_binary: values.is_on("skip-multus-binary-copy"),
            skip_tls_verify: values.is_on("skip-tls-verify"),
            server: server(environment),
            service_account: PathBuf::from(SERVICE_ACCOUNT),
            spool: PathBuf::from(engine::spool::DEFAULT_DIR),
        })))
    }

    /// Where the kubeconfig is written, as this process sees it.
    pub(crate) fn kubeconfig_path(&self) -> PathBuf {
        self.conf_dir.join("multus.d/multus.kubeconfig")
    }

    /// Whether all that must be there is; upstream's texts.
    pub(crate) fn check_files(&self) -> Result<(), String> {
        let found = |flag: &str, path: &Path| {
            std::fs::metadata(path)
                .map(drop)
                .map_err(|error| format!("{flag} is not found: stat {}: {error}", path.display()))
        };
        found("cni-conf-dir", &self.conf_dir)?;
        found("cni-bin-dir", &self.bin_dir)?;
        found("multus-bin-file", &self.bin_file)?;
        if let Some(file) = &self.conf_file {
            found("multus-conf-file", file)?;
        }
        self.server.clone().map(drop)
    }
}

fn log_level(text: &str) -> Result<String, String> {
    let level = text.to_ascii_lowercase();
    match level.as_str() {
        "" | "debug" | "verbose" | "error" | "panic" => Ok(level),
        _ => Err(format!("multus-log-level {text:?} is none of debug, verbose, error, panic")),
    }
}

fn server(environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let needed = |name: &str| {
        environment(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            format!("{name} is not set: this must run in a pod, or be told the API server by it")
        })
    };
    let host = needed("KUBERNETES_SERVICE_HOST")?;
    let port = needed("KUBERNETES_SERVICE_PORT")?;
    let scheme = environment("KUBERNETES_SERVICE_PROTOCOL").filter(|scheme| !scheme.is_empty());
    let scheme = scheme.unwrap_or_else(|| "https".to_owned());
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    Ok(format!("{scheme}://{host}:{port}"))
}
