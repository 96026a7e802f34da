//! What the tests of this crate share: a pod on a node, to which each test adds what it is about.

use std::collections::BTreeMap;

use libcni::{Network, Object, Plugin, Verb};

use crate::facts::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION, RESOURCE_NAME_ANNOTATION};
use crate::*;

/// The path that `clusterNetwork` has where a test does not say otherwise.
pub(crate) const CLUSTER: &str = "/etc/cni/net.d/10-cbr0.conflist";

/// Facts that a test owns.
pub(crate) struct Case {
    pub(crate) netconf: NetConf,
    pub(crate) verb: Verb,
    pub(crate) sandbox: Sandbox,
    pub(crate) identity: PodIdentity,
    pub(crate) pod: Option<Pod>,
    pub(crate) nads: BTreeMap<NadRef, NadLookup>,
    pub(crate) disk: OnDisk,
    pub(crate) devices: BTreeMap<String, Vec<String>>,
}

pub(crate) fn netconf(json: &str) -> NetConf {
    NetConf::parse(json.as_bytes()).unwrap()
}

impl Case {
    /// Pod test/p1 on a node whose default network is a list in a file.
    pub(crate) fn new() -> Case {
        let identity = PodIdentity {
            namespace: "test".into(),
            name: "p1".into(),
            uid: "u1".into(),
            infra_container_id: "cid".into(),
        };
        let cluster = r#"{"cniVersion":"1.0.0","name":"cbr0","plugins":[
            {"type":"bridge","capabilities":{"ips":true,"portMappings":true}}]}"#;
        let mut disk = OnDisk::default();
        disk.paths.insert(CLUSTER.into(), Ok(Network::parse(cluster.as_bytes()).unwrap()));
        Case {
            netconf: netconf(&format!(r#"{{"clusterNetwork":"{CLUSTER}","cniVersion":"1.0.0"}}"#)),
            verb: Verb::Add,
            sandbox: Sandbox {
                container_id: "cid".into(),
                netns: "/run/netns/x".into(),
                if_name: "eth0".into(),
                args: Vec::new(),
            },
            pod: Some(Pod::new("test", "p1", Some("u1".into()), BTreeMap::new())),
            identity,
            nads: BTreeMap::new(),
            disk,
            devices: BTreeMap::new(),
        }
    }

    pub(crate) fn netconf(mut self, json: &str) -> Case {
        self.netconf = netconf(json);
        self
    }

    /// The usual configuration with further keys.
    pub(crate) fn with_keys(self, keys: &str) -> Case {
        self.netconf(&format!(r#"{{"clusterNetwork":"{CLUSTER}","cniVersion":"1.0.0",{keys}}}"#))
    }

    fn annotation(mut self, key: &str, text: &str) -> Case {
        if let Some(pod) = &mut self.pod {
            pod.annotations.insert(key.into(), text.into());
        }
        self
    }

    pub(crate) fn selects(self, text: &str) -> Case {
        self.annotation(NETWORKS_ANNOTATION, text)
    }

    pub(crate) fn selects_default(self, text: &str) -> Case {
        self.annotation(DEFAULT_NETWORK_ANNOTATION, text)
    }

    pub(crate) fn nad_with(mut self, name: &str, config: &str, annotations: &[(&str, &str)]) -> Case {
        let (namespace, name) = name.split_once('/').unwrap();
        let annotations = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let nad = Nad::new(NadRef::new(namespace, name), config, annotations);
        self.nads.insert(nad.reference.clone(), NadLookup::Found(nad));
        self
    }

    pub(crate) fn nad(self, name: &str, config: &str) -> Case {
        self.nad_with(name, config, &[])
    }

    /// A NAD whose plugin declares everything.
    pub(crate) fn able(self, name: &str) -> Case {
        self.nad(name, &able_config())
    }

    pub(crate) fn device_nad(self, name: &str, resource: &str) -> Case {
        self.nad_with(name, &able_config(), &[(RESOURCE_NAME_ANNOTATION, resource)])
    }

    pub(crate) fn missing(mut self, namespace: &str, name: &str) -> Case {
        let why = format!("network-attachment-definitions.k8s.cni.cncf.io \"{name}\" not found");
        self.nads.insert(NadRef::new(namespace, name), NadLookup::Missing(why));
        self
    }

    pub(crate) fn file(mut self, name: &str, content: &str) -> Case {
        self.disk.conf_dir.push((name.into(), Ok(content.into())));
        self
    }

    pub(crate) fn devices(mut self, resource: &str, ids: &[&str]) -> Case {
        self.devices.insert(resource.into(), ids.iter().map(|id| (*id).into()).collect());
        self
    }

    pub(crate) fn aux_plugin(mut self, plugin_type: &str) -> Case {
        let object = Object::parse(format!(r#"{{"type":"{plugin_type}"}}"#).as_bytes()).unwrap();
        self.disk.aux_chain.push(Plugin { plugin_type: plugin_type.into(), object });
        self
    }

    pub(crate) fn verb(mut self, verb: Verb) -> Case {
        self.verb = verb;
        self
    }

    pub(crate) fn args(mut self, args: &[(&str, &str)]) -> Case {
        self.sandbox.args = args.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        self
    }

    pub(crate) fn try_plan(&self) -> Result<Plan, PlanError> {
        plan(&Facts {
            netconf: &self.netconf,
            verb: self.verb,
            sandbox: &self.sandbox,
            identity: &self.identity,
            pod: self.pod.as_ref(),
            nads: &self.nads,
            disk: &self.disk,
            devices: &self.devices,
        })
    }

    pub(crate) fn plan(&self) -> Plan {
        self.try_plan().unwrap_or_else(|e| panic!("no plan: {e}"))
    }

    pub(crate) fn wanted(&self) -> Result<Wanted, PlanError> {
        wanted(&self.netconf, self.pod.as_ref(), &self.identity)
    }

    /// The plan fails; with this code, and a text that begins and goes on like this.
    #[track_caller]
    pub(crate) fn fails(&self, code: u32, prefix: &str, parts: &[&str]) -> PlanError {
        let error = match self.try_plan() {
            Err(error) => error,
            Ok(plan) => panic!("a plan where none should be: {plan:?}"),
        };
        says(&error, code, prefix, parts);
        error
    }
}

pub(crate) fn able_config() -> String {
    r#"{"cniVersion":"1.0.0","type":"mynet","capabilities":{"ips":true,"mac":true,"infinibandGUID":true,
        "portMappings":true,"bandwidth":true,"deviceID":true,"CNIDeviceInfoFile":true}}"#
        .to_owned()
}

#[track_caller]
pub(crate) fn says(error: &PlanError, code: u32, prefix: &str, parts: &[&str]) {
    let text = error.to_string();
    assert!(text.starts_with(prefix), "{text}\ndoes not begin with\n{prefix}");
    for part in parts {
        assert!(text.contains(part), "{text}\ndoes not contain\n{part}");
    }
    assert!(text.len() < 4096, "an error of {} bytes", text.len());
    assert_eq!(error.to_cni().code, code, "{text}");
}

/// Name and interface of each attachment.
pub(crate) fn shape(plan: &Plan) -> Vec<(&str, &str)> {
    plan.attachments.iter().map(|a| (a.name.as_str(), a.if_name.as_str())).collect()
}

pub(crate) fn json(object: &Object) -> String {
    String::from_utf8(object.to_bytes()).unwrap()
}
