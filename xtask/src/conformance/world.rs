//! The small world of one case: a folder, a network namespace, an API server, plugins, and what is already known of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use testbed::apiserver::{FakeApi, Fault, FaultKind};
use testbed::plugin::Recorder;
use testbed::{Netns, parts};

use super::case::{Api, ApiFault, Case, overlay};
use super::target::Target;

pub(super) const NAMESPACE: &str = "test";
pub(super) const POD: &str = "pod1";
pub(super) const CONTAINER: &str = "cid1";
const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

/// Where things lie outside the case's own folder, because programs have these paths built in. Fresh for each case.
pub(super) const FIXED: [&str; 5] = [
    "/usr/src/multus-cni/bin",
    "/run/secrets/kubernetes.io/serviceaccount",
    "/var/lib/kubelet",
    "/run/k8s.cni.cncf.io",
    "/run/multus",
];

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) netns: Option<Netns>,
    netns_path: PathBuf,
    pub(super) api: Option<FakeApi>,
    pub(super) recorder: Recorder,
    netconf: Map<String, Value>,
    cni_path: String,
}

impl World {
    pub(super) fn new(case: &Case, target: &Target) -> Result<Self> {
        let dir =
            tempfile::Builder::new().prefix("conformance-").tempdir().context("make the case's folder")?;
        for sub in ["bin", "path", "conf", "cni"] {
            fs::create_dir(dir.path().join(sub))?;
        }
        let plugins: Vec<_> =
            ["main", "sec"].into_iter().chain(case.plugins.iter().map(String::as_str)).collect();
        let recorder = Recorder::new(&dir.path().join("bin"), &plugins)?;
        let netns = Netns::unique("cf")?;
        let netns_path = netns.path();
        let kubernetes = case.kubernetes.unwrap_or(case.pod.is_some() || !case.nads.is_empty());
        let api = if !kubernetes {
            None
        } else if case.tls {
            Some(FakeApi::tls()?)
        } else {
            Some(FakeApi::plain()?)
        };
        let mut cni_path = format!("{0}/bin:{0}/path", dir.path().display());
        if case.real_plugins {
            cni_path = format!("{cni_path}:{}", parts::reference_plugins()?.display());
        }
        let mut world =
            Self { dir, netns: Some(netns), netns_path, api, recorder, netconf: Map::new(), cni_path };
        fixed_places(target)?;
        world.netconf = world.base_netconf(&case.netconf)?;
        if let Some(api) = &world.api {
            api.write_kubeconfig(&world.path("$DIR/kubeconfig"))?;
            world.fill(api, case.pod.as_ref(), &case.nads)?;
        }
        for (path, content) in &case.files {
            world.write(path, content)?;
        }
        Ok(world)
    }

    fn base_netconf(&self, over: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut netconf = json!({
            "cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus",
            "confDir": "$DIR/conf", "cniDir": "$DIR/cni", "binDir": "$DIR/bin",
            "delegates": [{
                "cniVersion": "1.0.0", "name": "main", "type": "main",
                "x-result": {
                    "cniVersion": "1.0.0",
                    "interfaces": [{"name": "$IFNAME", "mac": "02:00:00:00:00:10", "sandbox": "$NETNS"}],
                    "ips": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 0}],
                    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}],
                },
            }],
        });
        if self.api.is_some() {
            netconf["kubeconfig"] = "$DIR/kubeconfig".into();
        }
        overlay(&mut netconf, over.clone());
        match netconf {
            Value::Object(netconf) => Ok(netconf),
            _ => bail!("the netconf is no object"),
        }
    }

    /// The netconf of a step as text.
    pub(super) fn stdin(&self, over: &Map<String, Value>) -> String {
        let mut netconf = Value::Object(self.netconf.clone());
        overlay(&mut netconf, over.clone());
        self.real(&netconf.to_string())
    }

    /// The environment of a CNI call before the step's own changes.
    pub(super) fn environment(&self, verb: &str) -> BTreeMap<String, String> {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={POD};K8S_POD_INFRA_CONTAINER_ID={CONTAINER};\
             K8S_POD_UID=uid1"
        );
        let pairs = [
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("CNI_COMMAND", verb.to_owned()),
            ("CNI_CONTAINERID", CONTAINER.to_owned()),
            ("CNI_NETNS", self.netns_path.display().to_string()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_ARGS", args),
            ("CNI_PATH", self.cni_path.clone()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn fill(&self, api: &FakeApi, pod: Option<&Value>, nads: &BTreeMap<String, Value>) -> Result<()> {
        if let Some(pod) = pod {
            api.add_pod(self.pod(pod)?);
        }
        for (name, nad) in nads {
            let (namespace, name) = name.split_once('/').unwrap_or((NAMESPACE, name));
            api.add_nad(self.nad(namespace, name, nad));
        }
        Ok(())
    }

    /// `networks` and `default-network` are short for the annotations; the rest is `uid`, `name`, `namespace`, `annotations`.
    fn pod(&self, given: &Value) -> Result<Value> {
        let mut annotations = Map::new();
        let given = given.as_object().context("the pod is no object")?;
        let more = given.get("annotations").and_then(Value::as_object).cloned().unwrap_or_default();
        let short = [
            ("k8s.v1.cni.cncf.io/networks", given.get("networks")),
            ("v1.multus-cni.io/default-network", given.get("default-network")),
        ];
        let all =
            short.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.clone()))).chain(more);
        for (key, value) in all {
            annotations.insert(key, self.real(&text(&value)).into());
        }
        Ok(json!({
            "metadata": {
                "name": given.get("name").unwrap_or(&POD.into()), "namespace": given.get("namespace").unwrap_or(&NAMESPACE.into()),
                "uid": given.get("uid").unwrap_or(&"uid1".into()), "annotations": annotations,
            },
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
        }))
    }

    /// A string is `spec.config`; an object with `config` has annotations too; any other object is a configuration.
    fn nad(&self, namespace: &str, name: &str, given: &Value) -> Value {
        let (config, annotations) = match given.get("config") {
            Some(config) => (config.clone(), given.get("annotations").cloned().unwrap_or_default()),
            None => (given.clone(), Value::Null),
        };
        let mut nad = json!({"metadata": {"name": name, "namespace": namespace}});
        if !annotations.is_null() {
            nad["metadata"]["annotations"] = annotations;
        }
        if !config.is_null() && given.get("no-spec").is_none() {
            nad["spec"] = json!({"config": self.real(&text(&config))});
        }
        nad
    }

    pub(super) fn change(&mut self, change: &Api) -> Result<()> {
        if change.refuse == Some(true) {
            self.api_mut()?.refuse();
        }
        if change.refuse == Some(false) {
            self.api_mut()?.resume()?;
        }
        let api = self.api.as_ref().context("the case has no API server")?;
        if let Some(delay) = change.delay_ms {
            api.set_delay(Duration::from_millis(delay));
        }
        if let Some(forbid) = change.forbid_patch {
            api.forbid_patch(forbid);
        }
        if let Some(token) = &change.token {
            api.require_token(Some(token));
        }
        if change.delete_pod {
            api.delete_pod(NAMESPACE, POD);
        }
        self.fill(api, change.pod.as_ref(), &change.nads)?;
        for fault in &change.faults {
            api.add_fault(fault_of(fault));
        }
        Ok(())
    }

    fn api_mut(&mut self) -> Result<&mut FakeApi> {
        self.api.as_mut().context("the case has no API server")
    }

    /// The status annotation of the pod as it is now.
    pub(super) fn status(&self) -> Option<String> {
        self.api.as_ref()?.annotation(NAMESPACE, POD, STATUS)
    }

    pub(super) fn write(&self, path: &str, content: &Value) -> Result<()> {
        let path = self.path(path);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        fs::write(&path, self.real(&text(content))).with_context(|| format!("write {}", path.display()))
    }

    pub(super) fn remove(&self, pattern: &str) -> Result<()> {
        for path in self.glob(pattern)? {
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Existing files that `pattern` names; `*` at its end stands for anything.
    pub(super) fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>> {
        let Some(start) = pattern.strip_suffix('*') else {
            let path = self.path(pattern);
            return Ok(if path.symlink_metadata().is_ok() { vec![path] } else { Vec::new() });
        };
        let start = self.path(start);
        let (dir, start) = if start.to_string_lossy().ends_with('/') || pattern.ends_with("/*") {
            (start.as_path(), String::new())
        } else {
            let name = start.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (start.parent().unwrap_or(Path::new("/")), name)
        };
        let Ok(entries) = fs::read_dir(dir) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // What begins with a dot (locks, temporary files) is nobody's business here.
            if name.starts_with(&start) && !name.starts_with('.') {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    /// A path as cases write it: relative to the folder, or absolute.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        self.dir.path().join(self.real(written))
    }

    /// `$DIR`, `$NETNS`, `$CID`, `$API` and `$PORT` replaced by what they are in this world.
    pub(super) fn real(&self, text: &str) -> String {
        let (url, port) =
            self.api.as_ref().map_or_else(Default::default, |api| (api.url(), api.port().to_string()));
        text.replace("$DIR", &self.dir.path().display().to_string())
            .replace("$NETNS", &self.netns_path.display().to_string())
            .replace("$CID", CONTAINER)
            .replace("$API", &url)
            .replace("$PORT", &port)
    }

    /// The reverse, for comparing.
    pub(super) fn normal(&self, text: &str) -> String {
        let mut text = text
            .replace(&self.dir.path().display().to_string(), "$DIR")
            .replace(&self.netns_path.display().to_string(), "$NETNS");
        if let Some(api) = &self.api {
            text = text
                .replace(&api.url(), "$API")
                .replace(&format!("127.0.0.1:{}", api.port()), "127.0.0.1:$PORT");
        }
        text
    }
}

fn fault_of(fault: &ApiFault) -> Fault {
    let kind = match (fault.status, &fault.body) {
        (_, Some(body)) => FaultKind::Garbage(body.clone()),
        (Some(code), None) => {
            FaultKind::Status(code, fault.reason.clone(), format!("{} on purpose", fault.reason))
        }
        (None, None) => FaultKind::Close,
    };
    Fault { method: fault.method.clone(), path: fault.path.clone(), times: fault.times, kind }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Empties the places with built-in paths and puts the target's programs where its image has them.
fn fixed_places(target: &Target) -> Result<()> {
    for place in FIXED {
        let place = Path::new(place);
        if place.exists() {
            fs::remove_dir_all(place).with_context(|| format!("clear {}", place.display()))?;
        }
        fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
    }
    for entry in fs::read_dir(&target.dir)? {
        let entry = entry?;
        std::os::unix::fs::symlink(entry.path(), Path::new(FIXED[0]).join(entry.file_name()))?;
    }
    let secrets = Path::new(FIXED[1]);
    fs::write(secrets.join("token"), "a-token")?;
    fs::write(secrets.join("ca.crt"), "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n")?;
    Ok(())
}
