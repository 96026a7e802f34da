//! Flags, as Go's `flag` reads them: one dash or two, `-name=value` or `-name value`.

use std::path::PathBuf;

const CONFIG: &str = "/etc/cni/net.d/multus.d/daemon-config.json";

pub(super) const USAGE: &str = "Usage of multus-daemon:
  -config string
    \tthe daemon's configuration (default \"/etc/cni/net.d/multus.d/daemon-config.json\")
  -probe string
    \tonly ask the daemon that runs here for healthz or readyz, and tell by the exit code
  -version
    \tprint the version and exit with code 4
";

/// What the program was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To run, with this configuration.
    Run(PathBuf),
    /// Whether the daemon that is configured so answers at this path.
    Probe {
        /// `/healthz` or `/readyz`.
        path: String,
        /// The configuration.
        config: PathBuf,
    },
    /// Its version.
    Version,
    /// Its flags.
    Help,
    /// A flag that it does not know.
    Unknown(String),
}

impl Asked {
    pub(super) fn read(arguments: &[String]) -> Self {
        let (mut config, mut probe) = (PathBuf::from(CONFIG), None);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                return Self::Unknown(format!("unexpected argument {argument:?}"));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let mut value = || value.clone().or_else(|| arguments.next().cloned());
            match name {
                "version" => return Self::Version,
                "h" | "help" => return Self::Help,
                "config" => match value() {
                    Some(path) => config = path.into(),
                    None => return Self::Unknown("flag needs an argument: -config".to_owned()),
                },
                "probe" => match value().as_deref() {
                    Some(name @ ("healthz" | "readyz")) => probe = Some(format!("/{name}")),
                    _ => return Self::Unknown("-probe needs healthz or readyz".to_owned()),
                },
                _ => return Self::Unknown(format!("flag provided but not defined: -{name}")),
            }
        }
        match probe {
            Some(path) => Self::Probe { path, config },
            None => Self::Run(config),
        }
    }
}
