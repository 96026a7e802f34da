//! Flags, as Go's `flag` reads them: one dash or two, `-name=value` or `-name value`.

use std::path::PathBuf;

const CONFIG: &str = "/etc/cni/net.d/multus.d/daemon-config.json";

pub(super) const USAGE: &str = "Usage of multus-daemon:
  -config string
    \tthe daemon's configuration (default \"/etc/cni/net.d/multus.d/daemon-config.json\")
  -probe string
    \tonly tell by the exit code: healthz or readyz, as the daemon that runs here answers; node, whether the node's configuration
    \tis in place besides
  -version
    \tprint the version and exit with code 4
";

/// What a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Whether the daemon answers.
    Healthz,
    /// Whether it can look up.
    Readyz,
    /// That, and whether the node's runtime calls the shim.
    Node,
}

impl Question {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "healthz" => Some(Self::Healthz),
            "readyz" => Some(Self::Readyz),
            "node" => Some(Self::Node),
            _ => None,
        }
    }

    /// What the daemon is asked by.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Healthz => "/healthz",
            Self::Readyz | Self::Node => "/readyz",
        }
    }
}

/// What the program was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To run, with this configuration.
    Run(PathBuf),
    /// Whether the daemon that is configured so answers at this path.
    Probe {
        /// What is to be found out.
        question: Question,
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
                "probe" => match value().as_deref().and_then(Question::parse) {
                    Some(question) => probe = Some(question),
                    None => return Self::Unknown("-probe needs healthz, readyz or node".to_owned()),
                },
                _ => return Self::Unknown(format!("flag provided but not defined: -{name}")),
            }
        }
        match probe {
            Some(question) => Self::Probe { question, config },
            None => Self::Run(config),
        }
    }
}
