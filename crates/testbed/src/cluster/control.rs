//! The control plane: etcd, API server, controller manager and scheduler on a machine of their own, which is also the
//! switch and the router of the nodes.
//!
//! The API server listens on 443, and the address of the service `kubernetes` is an address of this machine; so that
//! service works from every node without kube-proxy.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::Spec;
use super::machine::Machine;
use super::pki::Pki;
use crate::{parts, wait};

/// The machine's name.
pub(super) const NAME: &str = "control-plane";
/// Its address among the nodes.
pub(super) const ADDRESS: &str = "10.99.0.1";
/// The address of the service `kubernetes`.
const SERVICE: &str = "10.43.0.1";
const ETCD: &str = "http://127.0.0.1:2379";
const SERVICES: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// Certificates, and the kubeconfigs of what runs here.
pub(super) fn certify(machine_root: &Path) -> Result<Pki> {
    let names = [
        ADDRESS,
        SERVICE,
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let pki = Pki::new(&machine_root.join("etc/kubernetes"), &format!("https://{ADDRESS}"), &names)?;
    for (file, user) in
        [("controllers", "system:kube-controller-manager"), ("scheduler", "system:kube-scheduler")]
    {
        pki.write(&format!("{file}.kubeconfig"), &pki.kubeconfig(user, None)?)?;
    }
    Ok(pki)
}

/// The switch that nodes are plugged into.
pub(super) fn network(machine: &Machine) -> Result<()> {
    let script = "ip link add lan type bridge && ip address add \"$0\"/24 dev lan && ip address add \"$1\"/32 dev lan && \
                  ip link set lan up";
    machine.run("sh", &["-c", script, ADDRESS, SERVICE]).context("make the nodes' network")?;
    Ok(())
}

/// Starts etcd and the API server, and returns when the latter is ready.
pub(super) fn start_api(machine: &Machine, spec: &Spec) -> Result<()> {
    // On tmpfs: it lives as long as the machine, and nobody waits for a disk.
    let etcd = [
        "/parts/debian/usr/bin/etcd",
        "--data-dir=/run/etcd",
        "--log-level=warn",
        &format!("--listen-client-urls={ETCD}"),
        &format!("--advertise-client-urls={ETCD}"),
        "--listen-peer-urls=http://127.0.0.1:2380",
    ];
    machine.start("etcd", &[], &etcd)?;
    let pki = "/etc/kubernetes";
    let mut arguments = vec![
        format!("--etcd-servers={ETCD}"),
        "--secure-port=443".to_owned(),
        format!("--advertise-address={ADDRESS}"),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--service-account-key-file={pki}/accounts.pub"),
        format!("--service-account-signing-key-file={pki}/accounts.key"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.43.0.0/16".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        // Nobody waits for the last requests when the server is told to stop.
        "--shutdown-delay-duration=0s".to_owned(),
    ];
    if !spec.audited.is_empty() {
        arguments.extend(audit(machine, &spec.audited)?);
    }
    start(machine, spec, "kube-apiserver", &arguments)
}

/// Flags for a log of what these users ask for, each request once, when it was answered.
fn audit(machine: &Machine, users: &[String]) -> Result<[String; 2]> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata", "users": users}, {"level": "None"}],
    });
    let file = "/etc/kubernetes/audit.json";
    std::fs::write(machine.path(file), policy.to_string()).context("write the audit policy")?;
    Ok([format!("--audit-policy-file={file}"), format!("--audit-log-path={}", Spec::AUDIT_LOG)])
}

/// Starts what works on the objects.
pub(super) fn start_controllers(machine: &Machine, spec: &Spec) -> Result<()> {
    let pki = "/etc/kubernetes";
    let arguments = [
        format!("--kubeconfig={pki}/controllers.kubeconfig"),
        format!("--root-ca-file={pki}/ca.crt"),
        format!("--cluster-signing-cert-file={pki}/ca.crt"),
        format!("--cluster-signing-key-file={pki}/ca.key"),
        format!("--service-account-private-key-file={pki}/accounts.key"),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
    ];
    start(machine, spec, "kube-controller-manager", &arguments)?;
    let arguments = [format!("--kubeconfig={pki}/scheduler.kubeconfig"), "--leader-elect=false".to_owned()];
    start(machine, spec, "kube-scheduler", &arguments)
}

fn start(machine: &Machine, spec: &Spec, program: &str, arguments: &[String]) -> Result<()> {
    let mut command = vec![super::kubernetes_program(program)?];
    command.extend_from_slice(arguments);
    let version = format!("{}{}", parts::KUBERNETES_VERSION, spec.suffix);
    machine.start(program, &[("TESTBED_KUBERNETES_VERSION", &version)], &command)
}

/// Waits until `ready` says so; an error shows which service ended, and what it logged last.
pub(super) fn wait_for_api(machine: &Machine, mut ready: impl FnMut() -> bool) -> Result<()> {
    let mut ended = None;
    let waited = wait::until("the API server to be ready", Duration::from_secs(120), || {
        ended = ["etcd", "kube-apiserver"].into_iter().find(|service| !machine.is_running(service));
        (ended.is_some() || ready()).then_some(())
    });
    match (waited, ended) {
        (Ok(()), None) => Ok(()),
        (_, Some(service)) => bail!("{service} ended at once; it logged: {}", machine.log_tail(service)),
        (Err(error), None) => Err(error.context(machine.log_tail("kube-apiserver"))),
    }
}

/// Which of the services run.
pub(super) fn services(machine: &Machine) -> Vec<(&'static str, bool)> {
    SERVICES.map(|service| (service, machine.is_running(service))).to_vec()
}
