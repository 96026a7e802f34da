//! Flags and environment.

use std::path::{Path, PathBuf};

use libcni::Object;
use node_config::{LastGood, Member, Place, Program, Template, Wish};

use super::flags::{self, Flag, HELP, Values, list, switch, text};

/// Where the kubelet puts the pod's token and the cluster's authority.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where the engine keeps its journals, and the runtime its result cache.
const JOURNALS: &str = "/var/lib/cni/multus";
pub(crate) const RUNTIME_CACHE: &str = "/var/lib/cni";

const FLAGS: [Flag; 33] = [
    text("additional-bin-dir", "", "directory that the plugin searches before CNI_PATH"),
    list("additional-cni-bin-dir", "another directory of CNI plugins that the plugin is installed in"),
    switch("cleanup-config-on-exit", false, "remove the CNI configuration when this ends"),
    text("cni-bin-dir", "/host/opt/cni/bin", "directory of CNI plugins"),
    text("cni-conf-dir", "/host/etc/cni/net.d", "directory of CNI configurations"),
    text("cni-version", "", "CNI version of the configuration; must be the primary's"),
    text(
        "conf-file-name",
        "",
        "name of the configuration; by default 00-multus.conf, from CNI 1.0.0 on .conflist",
    ),
    text(
        "daemonset",
        "",
        "NAMESPACE/NAME of the own DaemonSet; when it is deleted, all that is installed is removed",
    ),
    text(
        "default-network",
        "",
        "the primary network: a CNI network's name, a file's name, namespace/name of a NAD; or the plugin type that the first file has",
    ),
    switch("force-cni-version", false, ""),
    text("global-namespaces", "", "namespaces, by comma, that pods may refer to in spite of isolation"),
    switch(
        "healthy",
        false,
        "only tell, by the exit code, whether all is in place; for a probe, with the same flags as the container",
    ),
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
    text("netconf-merge", "", "JSON object that is merged into the configuration last"),
    text("node-name", "", "name of the node, for --daemonset"),
    switch("override-network-name", false, "use the primary network's name"),
    text("owner", "", "name of this install, which marks its configuration; by default --daemonset's"),
    text("readiness-indicator-file", "", "file that tells that the primary network is ready"),
    switch("rename-conf-file", false, "rename the primary network's file to .old"),
    switch("require-default-network", false, "wait for --default-network rather than go on with another one"),
    switch("skip-config-watch", false, "do not follow changes of the primary network's file"),
    switch("skip-multus-binary-copy", false, "do not install the plugin"),
    list("take-over-from", "owner of another install that is gone, whose configuration may be replaced"),
];
const SKIP_TLS_VERIFY: Flag = switch("skip-tls-verify", false, "");

/// What the program was asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The list of flags.
    Help(String),
    /// Flags that it does not know.
    Unknown(String),
    /// To tell whether all is in place.
    Health(Box<Options>),
    /// To run.
    Run(Box<Options>),
}

/// All that steers it.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) cleanup: bool,
    /// Where the plugin is installed; the first is `--cni-bin-dir`.
    pub(crate) bin_dirs: Vec<PathBuf>,
    pub(crate) conf_dir: PathBuf,
    pub(crate) autoconfig_dir: PathBuf,
    pub(crate) bin_file: PathBuf,
    pub(crate) multus_conf_dir: PathBuf,
    /// `None` to generate it.
    pub(crate) conf_file: Option<PathBuf>,
    /// What is generated, apart from `confDir`, which is `multus_conf_dir` on the host.
    pub(crate) template: Template,
    pub(crate) take_over_from: Vec<String>,
    pub(crate) wish: Wish,
    pub(crate) own: Option<Own>,
    pub(crate) rename_primary: bool,
    pub(crate) skip_watch: bool,
    pub(crate) skip_binary: bool,
    /// Whether the plugin itself speaks to the API server, and so needs a kubeconfig on the host. In thick mode the daemon does.
    pub(crate) thin: bool,
    pub(crate) skip_tls_verify: bool,
    /// `proto://host:port` of the API server, or why it is not known; [`Options::check_files`] tells it after what is missing.
    pub(crate) server: Result<String, String>,
    /// The directory with `token` and `ca.crt`.
    pub(crate) service_account: PathBuf,
    /// Where ADDs leave records.
    pub(crate) spool: PathBuf,
    /// The journals, and the directory above the runtime's result cache, as this process sees them if it does.
    pub(crate) journals: PathBuf,
    pub(crate) runtime_cache: PathBuf,
}

/// What of the cluster this process belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    /// The DaemonSet's namespace.
    pub(crate) namespace: String,
    /// The DaemonSet's name.
    pub(crate) name: String,
    /// The node's name.
    pub(crate) node: String,
}

impl Own {
    /// Reads `NAMESPACE/NAME` of a DaemonSet.
    pub(crate) fn parse(daemon_set: &str, node: String) -> Result<Self, String> {
        // These become part of a path.
        let is_name = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_alphanumeric())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        };
        let names =
            daemon_set.split_once('/').filter(|(namespace, name)| is_name(namespace) && is_name(name));
        let (namespace, name) =
            names.ok_or_else(|| format!("daemonset {daemon_set:?} is not NAMESPACE/NAME of a DaemonSet"))?;
        if !is_name(&node) {
            return Err(format!(
                "node-name {node:?} is no node's name; daemonset needs it (set it from spec.nodeName)"
            ));
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), node })
    }
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
        let options = Box::new(Self::from_values(&values, environment)?);
        Ok(if values.is_on("healthy") { Asked::Health(options) } else { Asked::Run(options) })
    }

    fn from_values(values: &Values, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let path = |name| PathBuf::from(values.text(name));
        let conf_file = values.text("multus-conf-file");
        let own = own(values)?;
        let merge = merge(values)?;
        let cni_dir: Option<String> = libcni::json::field_ci_as(&merge, "cniDir").ok().flatten();
        let more = values.list("additional-cni-bin-dir").iter().map(PathBuf::from);
        Ok(Self {
            cleanup: values.is_on("cleanup-config-on-exit"),
            bin_dirs: std::iter::once(path("cni-bin-dir")).chain(more).collect(),
            conf_dir: path("cni-conf-dir"),
            autoconfig_dir: path("multus-autoconfig-dir"),
            bin_file: path("multus-bin-file"),
            multus_conf_dir: path("multus-cni-conf-dir"),
            conf_file: (conf_file != "auto").then(|| PathBuf::from(conf_file)),
            template: Template {
                plugin_type: "multus".to_owned(),
                file_name: conf_file_name(values)?,
                cni_version: values.text("cni-version"),
                force_cni_version: values.is_on("force-cni-version"),
                override_name: values.is_on("override-network-name"),
                members: members(values)?,
                merge,
                owner: owner(values, own.as_ref()),
            },
            take_over_from: values.list("take-over-from").to_vec(),
            wish: wish(values)?,
            own,
            rename_primary: values.is_on("rename-conf-file"),
            skip_watch: values.is_on("skip-config-watch"),
            skip_binary: values.is_on("skip-multus-binary-copy"),
            thin: true,
            skip_tls_verify: values.is_on("skip-tls-verify"),
            server: server(environment),
            service_account: PathBuf::from(SERVICE_ACCOUNT),
            spool: PathBuf::from(engine::spool::DEFAULT_DIR),
            journals: PathBuf::from(cni_dir.unwrap_or_else(|| JOURNALS.to_owned())),
            runtime_cache: PathBuf::from(RUNTIME_CACHE),
        })
    }

    /// Where the configuration is put.
    pub(crate) fn place(&self) -> Place {
        let template = &self.template;
        let take_over_from = self.take_over_from.clone();
        Place::new(self.conf_dir.clone(), &template.file_name, template.owner.clone(), take_over_from)
    }

    /// Where the program is installed.
    pub(crate) fn programs(&self) -> Vec<Program> {
        if self.skip_binary {
            return Vec::new();
        }
        let installed = |dir: &PathBuf| Program::new(self.bin_file.clone(), dir.join("multus"));
        self.bin_dirs.iter().map(installed).collect()
    }

    /// What `install_multus` of the same image puts beside it; the shim, while this install was in thick mode.
    pub(crate) fn companions(&self) -> Vec<Program> {
        if self.skip_binary {
            return Vec::new();
        }
        let installed = |dir: &PathBuf| {
            ["passthru", "multus-shim"]
                .map(|name| Program::new(self.bin_file.with_file_name(name), dir.join(name)))
        };
        self.bin_dirs.iter().flat_map(installed).collect()
    }

    /// The folder beside the configuration that no runtime reads.
    pub(crate) fn own_dir(&self) -> PathBuf {
        self.conf_dir.join("multus.d")
    }

    /// Where the primary network is kept as it was when it could last be read.
    pub(crate) fn last_good(&self) -> LastGood {
        LastGood::new(self.own_dir().join("primary"))
    }

    /// Where the kubeconfig is written, as this process sees it.
    pub(crate) fn kubeconfig_path(&self) -> PathBuf {
        self.own_dir().join("multus.kubeconfig")
    }

    /// Whether all that must be there is; upstream's texts.
    pub(crate) fn check_files(&self) -> Result<(), String> {
        let found = |flag: &str, path: &Path| {
            std::fs::metadata(path)
                .map(drop)
                .map_err(|error| format!("{flag} is not found: stat {}: {error}", path.display()))
        };
        if !self.thin {
            found("cniConfigDir", &self.conf_dir)?;
            return self.conf_file.as_ref().map_or(Ok(()), |file| found("multusConfigFile", file));
        }
        found("cni-conf-dir", &self.conf_dir)?;
        let flags = std::iter::once("cni-bin-dir").chain(std::iter::repeat("additional-cni-bin-dir"));
        flags.zip(&self.bin_dirs).try_for_each(|(flag, dir)| found(flag, dir))?;
        found("multus-bin-file", &self.bin_file)?;
        if let Some(file) = &self.conf_file {
            found("multus-conf-file", file)?;
        }
        self.server.clone().map(drop)
    }
}

/// Members of the netconf in upstream's order; those that are not set are left out.
fn members(values: &Values) -> Result<Vec<Member>, String> {
    let text = |key: &str, flag: &str| set(key, values.text(flag));
    let log_level = log_level(&values.text("multus-log-level"))?;
    let members = [
        values.is_on("namespace-isolation").then(|| Member::new("namespaceIsolation", &true)),
        text("globalNamespaces", "global-namespaces"),
        (!values.is_on("multus-log-to-stderr")).then(|| Member::new("logToStderr", &false)),
        set("logLevel", log_level),
        text("logFile", "multus-log-file"),
        text("binDir", "additional-bin-dir"),
        // Upstream writes `cniConf`, which nobody reads (Q33).
        set("confDir", on_host(&values.text("multus-cni-conf-dir"))),
        text("readinessindicatorfile", "readiness-indicator-file"),
        text("kubeconfig", "multus-kubeconfig-file-host"),
    ];
    Ok(members.into_iter().flatten().collect())
}

fn set(key: &str, value: String) -> Option<Member> {
    (!value.is_empty()).then(|| Member::new(key, &value))
}

/// A path as the plugin on the host sees it; containers have the host's directories below `/host`.
fn on_host(path: &str) -> String {
    path.strip_prefix("/host/").map_or_else(|| path.to_owned(), |rest| format!("/{rest}"))
}

fn merge(values: &Values) -> Result<Object, String> {
    match values.text("netconf-merge").as_str() {
        "" => Ok(Object::default()),
        text => node_config::merge_from(text).map_err(|error| format!("netconf-merge: {error}")),
    }
}

/// A file's name that a runtime reads.
fn conf_file_name(values: &Values) -> Result<String, String> {
    let name = values.text("conf-file-name");
    let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
    if name.is_empty() || (!name.contains('/') && matches!(extension, Some("conf" | "conflist"))) {
        return Ok(name);
    }
    Err(format!("conf-file-name {name:?} is no file name that ends in .conf or .conflist"))
}

fn wish(values: &Values) -> Result<Wish, String> {
    let wish = Wish {
        file: values.text("multus-master-cni-file-name"),
        network: values.text("default-network"),
        required: values.is_on("require-default-network"),
    };
    if !wish.file.is_empty() && !wish.network.is_empty() {
        return Err(
            "multus-master-cni-file-name and default-network both name the primary network; give one of them"
                .to_owned(),
        );
    }
    if wish.required && wish.network.is_empty() {
        return Err("require-default-network needs default-network".to_owned());
    }
    Ok(wish)
}

/// The process's place in the cluster, where it is told its DaemonSet.
pub(crate) fn own(values: &Values) -> Result<Option<Own>, String> {
    let daemon_set = values.text("daemonset");
    if daemon_set.is_empty() {
        return Ok(None);
    }
    let own = Own::parse(&daemon_set, values.text("node-name"))?;
    if values.is_on("cleanup-config-on-exit") {
        return Err("cleanup-config-on-exit removes the configuration at every end, daemonset keeps it until the DaemonSet is \
                    deleted; give one of them"
            .to_owned());
    }
    Ok(Some(own))
}

/// The install's name. Without one, the configuration carries no mark, as upstream's.
pub(crate) fn owner(values: &Values, own: Option<&Own>) -> Option<String> {
    let given = Some(values.text("owner")).filter(|owner| !owner.is_empty());
    given.or_else(|| own.map(|own| format!("{}/{}", own.namespace, own.name)))
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
