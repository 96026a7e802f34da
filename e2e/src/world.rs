//! A cluster with what tests do to it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use testbed::cluster::{Cluster, Helm, Node, Spec};

use crate::pod::{self, Interfaces, Pod};
use crate::{Archive, Leftovers};

/// Where upstream's manifest and the chart put their DaemonSet.
pub const NAMESPACE: &str = "kube-system";

/// A cluster of one test. Dropped by a test that fails, it shows what a person would look at, and leaves its folder.
#[derive(Debug)]
pub struct World {
    cluster: Option<Cluster>,
}

impl World {
    /// Brings a cluster up. `name` tells tests apart.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn up(name: &str, describe: impl FnOnce(Spec) -> Spec) -> Self {
        let spec = describe(Spec::new(&format!("e2e-{name}")));
        match Cluster::up(&spec) {
            Ok(cluster) => Self { cluster: Some(cluster) },
            Err(error) => panic!("bring the cluster {} up: {error:?}", spec.name),
        }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        match &self.cluster {
            Some(cluster) => cluster,
            None => unreachable!("the cluster is there until the world is dropped"),
        }
    }

    /// A node.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> &Node {
        self.cluster().node(name).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Imports images on all nodes.
    ///
    /// # Errors
    /// When an archive is missing or not taken.
    pub fn load(&self, archives: &[Archive]) -> Result<()> {
        archives.iter().try_for_each(|archive| self.cluster().load(&archive.path()?))
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(self.cluster().kubectl().args(arguments), "")
    }

    /// Runs Helm and returns what it printed, notes and warnings included.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn helm(&self, version: Helm, arguments: &[&str]) -> Result<String> {
        run(self.cluster().helm(version)?.current_dir(workspace()).args(arguments), "")
    }

    /// Runs a shell script as a person would on a machine with kubectl and Helm 4, in the repository's folder, and returns what it
    /// printed.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn shell(&self, script: &str) -> Result<String> {
        let mut path = testbed::parts::helm4()?.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        run(self.cluster().command("sh").env("PATH", path).current_dir(workspace()).args(["-ec", script]), "")
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// When kubectl does not succeed.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        run(self.cluster().kubectl().args(["apply", "-f", "-"]), manifests)
    }

    /// Creates pods and waits until all are ready.
    ///
    /// # Errors
    /// When one is not in time; the error shows its events.
    pub fn start(&self, pods: &[Pod]) -> Result<()> {
        self.create(pods)?;
        for pod in pods {
            self.wait_ready(&pod.name)?;
        }
        Ok(())
    }

    /// Creates pods.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn create(&self, pods: &[Pod]) -> Result<()> {
        let items: Vec<_> = pods.iter().map(Pod::manifest).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        run(self.cluster().kubectl().args(["create", "-f", "-"]), &list).map(drop)
    }

    /// Waits until a pod is ready.
    ///
    /// # Errors
    /// When it is not within a minute; the error shows its events.
    pub fn wait_ready(&self, pod: &str) -> Result<()> {
        let waited = self.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", &format!("pod/{pod}")]);
        waited.map(drop).with_context(|| {
            format!(
                "pod {pod} is not ready; its events:\n{}",
                self.events(pod).unwrap_or_default().join("\n")
            )
        })
    }

    /// The events about an object, `reason: message`, oldest first.
    ///
    /// # Errors
    /// When kubectl does not succeed.
    pub fn events(&self, object: &str) -> Result<Vec<String>> {
        let selector = format!("--field-selector=involvedObject.name={object}");
        let listed = self.kubectl(&[
            "get",
            "events",
            "--all-namespaces",
            &selector,
            "--sort-by=.metadata.creationTimestamp",
            "--output=json",
        ])?;
        let listed: Value = serde_json::from_str(&listed).context("read the events")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = listed["items"].as_array().into_iter().flatten();
        Ok(events.map(|event| format!("{}: {}", text(&event["reason"]), text(&event["message"]))).collect())
    }

    /// Deletes pods and waits until they are gone.
    ///
    /// # Errors
    /// When they are not within a minute or two.
    pub fn delete(&self, pods: &[Pod]) -> Result<()> {
        let mut arguments = vec!["delete", "pod", "--timeout=120s"];
        arguments.extend(pods.iter().map(|pod| pod.name.as_str()));
        self.kubectl(&arguments).map(drop)
    }

    /// Runs a shell script in a pod.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn exec(&self, pod: &str, script: &str) -> Result<String> {
        self.kubectl(&["exec", pod, "--", "sh", "-c", script])
    }

    /// What a pod sees in its own network namespace.
    ///
    /// # Errors
    /// When nothing can be run in it.
    pub fn interfaces(&self, pod: &str) -> Result<Interfaces> {
        Ok(pod::interfaces(&self.exec(pod, pod::LIST_INTERFACES)?))
    }

    /// A pod's annotation `k8s.v1.cni.cncf.io/network-status`; no entry when it has none.
    ///
    /// # Errors
    /// When the pod cannot be had, or the annotation is not JSON.
    pub fn network_status(&self, pod: &str) -> Result<Vec<Value>> {
        let pod: Value = serde_json::from_str(&self.kubectl(&["get", "pod", pod, "--output=json"])?)?;
        match pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"].as_str() {
            Some(text) => {
                serde_json::from_str(text).with_context(|| format!("read the network status {text:?}"))
            }
            None => Ok(Vec::new()),
        }
    }

    /// Waits until a DaemonSet runs everywhere in its newest form.
    ///
    /// # Errors
    /// When it does not within two minutes; the error shows its pods and what they logged last.
    pub fn rollout(&self, daemon_set: &str) -> Result<()> {
        let object = format!("daemonset/{daemon_set}");
        self.kubectl(&["-n", NAMESPACE, "rollout", "status", "--timeout=120s", &object])
            .map(drop)
            .with_context(|| {
                let pods =
                    self.kubectl(&["-n", NAMESPACE, "get", "pods", "--output=wide"]).unwrap_or_default();
                let logs = self.kubectl(&["-n", NAMESPACE, "logs", "--all-containers", "--tail=20", &object]);
                format!(
                    "{daemon_set} is not rolled out\n{pods}\n{}",
                    logs.unwrap_or_else(|error| error.to_string())
                )
            })
    }

    /// Starts a plain pod on every node, and ends it: a node must always be able to do so.
    ///
    /// # Errors
    /// When a pod does not become ready.
    pub fn plain_pods_start(&self) -> Result<()> {
        let pods: Vec<_> = self
            .cluster()
            .nodes()
            .iter()
            .map(|node| Pod::new(&format!("plain-{}", node.name()), node.name()))
            .collect();
        self.start(&pods)?;
        self.delete(&pods)
    }

    /// What is left on the nodes of pods that are gone.
    #[must_use]
    pub fn leftovers(&self) -> Leftovers {
        Leftovers::on(self.cluster().nodes())
    }

    fn show(&self) {
        let looks: [&[&str]; 3] = [
            &["get", "pods", "--all-namespaces", "--output=wide"],
            &["get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"],
            &["-n", NAMESPACE, "logs", "--selector=app=multus", "--all-containers", "--prefix", "--tail=30"],
        ];
        for look in looks {
            let shown = self.kubectl(look).unwrap_or_else(|error| format!("{error:#}"));
            let lines: Vec<_> = shown.lines().collect();
            let last = lines[lines.len().saturating_sub(60)..].join("\n");
            let _ = writeln!(std::io::stderr(), "---- kubectl {}\n{last}", look.join(" "));
        }
        let _ = writeln!(std::io::stderr(), "---- logs are in {}", self.cluster().dir().display());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
            return;
        }
        if let Some(cluster) = self.cluster.take()
            && let Err(error) = cluster.down()
        {
            panic!("take the cluster down: {error:?}");
        }
    }
}

/// The repository.
#[must_use]
pub fn workspace() -> PathBuf {
    testbed::parts::workspace()
}

fn run(command: &mut Command, input: &str) -> Result<String> {
    let shown: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    // Without nsenter's own arguments, and the folder of the program.
    let shown = shown.iter().skip_while(|word| *word != "--").skip(1).map(|word| word.as_str());
    let shown = shown.collect::<Vec<_>>().join(" ");
    let mut stdin = tempfile::tempfile().context("make a file for standard input")?;
    stdin.write_all(input.as_bytes())?;
    std::io::Seek::rewind(&mut stdin)?;
    let output = command
        .stdin(Stdio::from(stdin))
        .output()
        .with_context(|| format!("start {}", Path::new(&shown).display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{shown} ended with {}: {}{}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout) + &text(&output.stderr))
}
