//! Keeps a client certificate for this node and a kubeconfig that uses it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube_cluster::certificate::{NodeCertificate, Validity};
use kube_cluster::kubeconfig::Access;

use crate::thin_entrypoint::files;
use crate::thin_entrypoint::flags::{self, Flag, HELP, text};
use crate::thin_entrypoint::stop::Stop;

const FLAGS: [Flag; 5] = [
    text("bootstrap-config", "/tmp/kubeconfig", "kubeconfig that may ask for the first certificate"),
    text("cert-duration", "10m", "how long a certificate lasts, such as 24h or 10m"),
    text("certdir", "/tmp", "directory of the certificate"),
    HELP,
    text("kubeconfig", "/run/multus/kubeconfig", "kubeconfig to write"),
];
/// How long the first certificate may take to be signed, and a later one, which has time.
const FIRST_LIMIT: Duration = Duration::from_secs(120);
const RENEWAL_LIMIT: Duration = Duration::from_secs(15 * 60);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);
/// How often it is looked whether the kubeconfig is there.
const TICK: Duration = Duration::from_secs(1);

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    match generate(arguments) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "kubeconfig_generator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn generate(arguments: &[String]) -> Result<ExitCode, String> {
    let values = match flags::parse(&FLAGS, arguments) {
        Ok(values) => values,
        Err(error) => return Ok(flags::unknown(&error)),
    };
    if values.is_on("help") {
        let _ = io::stderr().write_all(flags::usage("kubeconfig_generator", &FLAGS).as_bytes());
        // Upstream's code.
        return Ok(ExitCode::FAILURE);
    }
    let node = std::env::var("MULTUS_NODE_NAME").ok().filter(|node| !node.is_empty());
    let certificate = NodeCertificate {
        node: node.ok_or("MULTUS_NODE_NAME is not set; the manifest must set it from spec.nodeName")?,
        dir: PathBuf::from(values.text("certdir")),
        bootstrap: PathBuf::from(values.text("bootstrap-config")),
        duration: duration(&values.text("cert-duration"))?,
    };
    if !certificate.dir.is_dir() {
        return Err(format!("certdir {} is not a directory", certificate.dir.display()));
    }
    let stop = Stop::on_signals().map_err(|error| format!("cannot listen for signals: {error}"))?;
    keep(&certificate, Path::new(&values.text("kubeconfig")), &stop)?;
    Ok(ExitCode::SUCCESS)
}

/// Keeps both until `stop`; then the kubeconfig goes, since nobody renews what it names.
fn keep(certificate: &NodeCertificate, kubeconfig: &Path, stop: &Stop) -> Result<(), String> {
    renew(certificate, kubeconfig, stop, || {})?;
    match fs::remove_file(kubeconfig) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", kubeconfig.display()))
        }
        _ => Ok(()),
    }
}

/// Renews the certificate, and keeps the kubeconfig that names it as it should be, until `stop`; both are there when it calls `ready`.
/// Both stay at the end: during an upgrade another process uses the same files.
pub(crate) fn renew(
    certificate: &NodeCertificate,
    kubeconfig: &Path,
    stop: &Stop,
    ready: impl FnOnce(),
) -> Result<(), String> {
    let validity = first(certificate)?;
    let access = Access::read(&certificate.bootstrap).map_err(|error| error.to_string())?;
    let text = kubeconfig_text(&access, &certificate.path());
    let write = || {
        files::replace(kubeconfig, text.as_bytes(), 0o600)
            .map_err(|error| format!("cannot write {}: {error}", kubeconfig.display()))
    };
    write()?;
    ready();
    let mut renew_at = validity.renew_at();
    let mut pause = Duration::from_secs(2);
    loop {
        let wait = renew_at.duration_since(SystemTime::now()).unwrap_or_default();
        if stop.within(wait.min(TICK)) {
            return Ok(());
        }
        // Another process of the node that ends may have taken it away, as this program does by itself.
        if let Err(error) = write() {
            let _ = writeln!(io::stderr(), "kubeconfig_generator: {error}");
        }
        if wait > TICK {
            continue;
        }
        match certificate.obtain(Instant::now() + RENEWAL_LIMIT) {
            Ok(renewed) => {
                renew_at = renewed.renew_at();
                pause = Duration::from_secs(2);
            }
            Err(error) => {
                let _ = writeln!(io::stderr(), "kubeconfig_generator: cannot renew the certificate: {error}");
                renew_at = SystemTime::now() + pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The certificate that a run before this one left, or a new one.
fn first(certificate: &NodeCertificate) -> Result<Validity, String> {
    if let Some(validity) = certificate.on_disk().filter(|validity| validity.covers(SystemTime::now())) {
        return Ok(validity);
    }
    certificate.obtain(Instant::now() + FIRST_LIMIT).map_err(|error| error.to_string())
}

fn kubeconfig_text(access: &Access, pem: &Path) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut cluster = format!("    server: {}\n", quoted(&access.server));
    if let Some(authority) = &access.authority {
        // Also where the bootstrap kubeconfig names a file, which upstream drops.
        cluster = format!("    certificate-authority-data: {}\n{cluster}", STANDARD.encode(authority));
    }
    if access.insecure {
        cluster.push_str("    insecure-skip-tls-verify: true\n");
    }
    if let Some(name) = &access.server_name {
        cluster.push_str(&format!("    tls-server-name: {}\n", quoted(name)));
    }
    let pem = quoted(&pem.display().to_string());
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: default-cluster\n  cluster:\n{cluster}contexts:\n- name: default-context\n  \
         context:\n    cluster: default-cluster\n    namespace: default\n    user: default-auth\ncurrent-context: default-context\n\
         users:\n- name: default-auth\n  user:\n    client-certificate: {pem}\n    client-key: {pem}\n"
    )
}

/// A duration as Go writes it: `1h30m`, `1.5h`, `600s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("cert-duration {text:?} is no duration, such as 24h or 10m");
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let units = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(wrong)?;
        rest = &rest[unit.len()..];
        seconds += number * factor;
    }
    // The API server signs nothing shorter.
    if seconds < 600.0 {
        return Err(format!(
            "cert-duration {text:?} is shorter than 10m, the least that an API server signs"
        ));
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests;
