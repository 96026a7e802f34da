//! What cannot work is refused, with both Helms, in words that name the value and what to set.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use chart::helm::Helm;

const UPSTREAM: &str = "image.repository=ghcr.io/k8snetworkplumbingwg/multus-cni";

/// Values, and what the refusal has to say.
const REFUSED: &[(&[&str], &[&str])] = &[
    // Engine, mode, version (design: the name tells, what contradicts it fails).
    (
        &["image.repository=example.com/mirror/net"],
        &["image.repository", "`engine`", "multus-rs", "upstream"],
    ),
    (
        &["engine=upstream"],
        &["engine:", "contradicts", "Set image.repository: ghcr.io/k8snetworkplumbingwg/multus-cni"],
    ),
    (
        &[UPSTREAM, "engine=multus-rs"],
        &["engine:", "contradicts", "Set image.repository: ghcr.io/multus-rs/multus-rs"],
    ),
    (&["image.tag=v4.0.0-thick"], &["image.tag", "v4.0.0-thick", "image.tag: v4.0.0"]),
    (&[UPSTREAM, "mode=thick", "image.tag=v4.3.0"], &["mode:", "contradicts", "v4.3.0-thick"]),
    (&[UPSTREAM, "mode=thin", "image.tag=v4.3.0-thick"], &["mode:", "contradicts", "image.tag: v4.3.0,"]),
    (&[UPSTREAM, "image.tag=v3.9.3"], &["3.9.3", "too old", "v4.0.2"]),
    (&[UPSTREAM, "image.tag=mine"], &["mine", "engineVersion"]),
    (
        &["image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
        &["image.digest", "image.tag", "engine, mode and engineVersion"],
    ),
    // Platform.
    (&["platform=rancher"], &["platform:", "rancher", "k3s-legacy", "openshift"]),
    (
        &["k3s.disableFlannel=true", "cni.binDir=/var/lib/rancher/k3s/data/cni"],
        &["k3s.disableFlannel", "cni.binDir", "/opt/cni/bin"],
    ),
    (
        &["k3s.disableFlannel=true", "cni.configDir=/var/lib/rancher/k3s/agent/etc/cni/net.d"],
        &["k3s.disableFlannel", "cni.configDir"],
    ),
    // What only the other engine or mode can do.
    (&[UPSTREAM, "cni.configFile=05-multus.conf"], &["cni.configFile", "00-multus.conf", "multus-rs"]),
    (&[UPSTREAM, "config.specMode=strict"], &["config.specMode", "multus-rs"]),
    (&[UPSTREAM, "takeOverFrom={old/multus}"], &["takeOverFrom", "multus-rs"]),
    (&[UPSTREAM, "network.attachToAll={storage}"], &["network.attachToAll", "thick"]),
    (&[UPSTREAM, "config.systemNamespaces={a}"], &["config.systemNamespaces", "thick"]),
    (&[UPSTREAM, "config.raw.a=b"], &["config.raw", "thick"]),
    (&["mode=thin", "metrics.port=9091"], &["metrics.port", "thin", "thick mode"]),
    (&["metrics.address=127.0.0.1"], &["metrics.address", "metrics.port"]),
    (
        &[UPSTREAM, "image.tag=v4.3.0-thick", "metrics.port=9091", "metrics.address=::"],
        &["metrics.address", "multus-rs"],
    ),
    (&["mode=thin", "config.events=none"], &["config.events", "thick"]),
    (&[UPSTREAM, "config.log.format=json"], &["config.log.format", "multus-rs"]),
    (&["config.raw.socketDir=/a"], &["config.raw.socketDir", "derives"]),
    (&["config.raw.clusterNetwork=a"], &["config.raw.clusterNetwork", "network.defaultNetwork"]),
    (&["network.requireDefault=true"], &["network.requireDefault", "network.defaultNetwork"]),
    (
        &[UPSTREAM, "network.requireDefault=true", "network.defaultNetwork=cbr0"],
        &["network.requireDefault", "10-flannel.conflist", "cbr0"],
    ),
    // Lists that the API server would refuse in words that name no value.
    (&["extraEnv[0].name=A", "extraEnv[1].name=A"], &["extraEnv", "\"A\"", "twice"]),
    (&["extraVolumes[0].name=a", "extraVolumes[1].name=a"], &["extraVolumes", "twice"]),
    (&["extraContainers[0].name=a", "extraContainers[1].name=a"], &["extraContainers", "twice"]),
    (&["extraInitContainers[0].name=a", "extraInitContainers[1].name=a"], &["extraInitContainers", "twice"]),
    (
        &[
            "extraVolumeMounts[0].name=a",
            "extraVolumeMounts[0].mountPath=/a",
            "extraVolumeMounts[1].name=b",
            "extraVolumeMounts[1].mountPath=/a",
        ],
        &["extraVolumeMounts", "/a", "twice"],
    ),
    (
        &["referencePlugins.include={a}", "referencePlugins.exclude={b}"],
        &["referencePlugins", "include", "exclude"],
    ),
    (
        &["updateStrategy.type=OnDelete", "updateStrategy.rollingUpdate.maxUnavailable=1"],
        &["updateStrategy", "OnDelete", "rollingUpdate"],
    ),
    // What the pod has already.
    (&["extraVolumes[0].name=cnibin"], &["extraVolumes", "\"cnibin\"", "another name"]),
    (&["extraContainers[0].name=shim"], &["extraContainers", "\"shim\"", "another name"]),
    (&["extraInitContainers[0].name=install-multus"], &["extraInitContainers", "\"install-multus\""]),
    (
        &["extraVolumeMounts[0].name=a", "extraVolumeMounts[0].mountPath=/run/multus"],
        &["extraVolumeMounts", "/run/multus", "another path"],
    ),
    (
        &["config.log.file=/var/lib/kubelet/pod-resources/multus.log"],
        &["config.log.file", "/var/lib/kubelet/pod-resources", "may only read"],
    ),
    (&["config.log.file=/multus.log"], &["config.log.file", "/var/log/multus/multus.log"]),
    // NADs.
    (
        &["networkAttachmentDefinitions[0].name=a", "networkAttachmentDefinitions[0].config=nonsense"],
        &["networkAttachmentDefinitions[0].config", "default/a", "JSON"],
    ),
    (
        &["networkAttachmentDefinitions[0].name=a", "networkAttachmentDefinitions[0].config.ipam=x"],
        &["networkAttachmentDefinitions[0].config", "type", "plugins"],
    ),
    (
        &["networkAttachmentDefinitions[0].name=a", "networkAttachmentDefinitions[1].name=a"],
        &["networkAttachmentDefinitions", "default/a", "twice"],
    ),
    // The schema.
    (&["tolerations=all"], &["tolerations", "array"]),
    (&["image.pullPolicy=Sometimes"], &["image", "pullPolicy", "IfNotPresent"]),
    (&["cni.configDir=etc/cni/net.d"], &["configDir"]),
    (&["imge.tag=v4.0.0"], &["imge"]),
    // Typing errors in sections that are not ours, but known (files/renamed.yaml).
    (&["paths.cniConfDir=/a"], &["paths", "cniConfDir"]),
    (&["config.primary.fil=a"], &["primary", "fil"]),
    (&["rke2-whereabouts.enable=true"], &["rke2-whereabouts", "enable"]),
    (&["metrics.port=70000"], &["metrics", "port"]),
    // Not a number, with a leading zero: Helm takes it for text.
    (&["metrics.port=099999"], &["metrics", "port"]),
    (&["apiServer.port=00"], &["apiServer", "port"]),
    (&["config.readinessIndicatorFile=10-calico.conflist"], &["readinessIndicatorFile"]),
    (&["config.events=off"], &["events", "none"]),
    (&["network.requireDefault=maybe"], &["requireDefault", "boolean"]),
    (&["networkAttachmentDefinitions[0].nam=a"], &["networkAttachmentDefinitions"]),
];

fn refusal(helm: &Helm, sets: &[&str]) -> Option<String> {
    let mut arguments = vec!["--kube-version".to_owned(), "v1.34.4".to_owned()];
    arguments.extend(sets.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]));
    let said = helm.template(&chart::dir("multus"), &arguments).unwrap();
    (!said.success).then_some(said.stderr)
}

#[test]
fn each_guard_names_the_value_and_what_to_set() {
    let mut wrong = Vec::new();
    for helm in Helm::both().unwrap() {
        for (sets, words) in REFUSED {
            let Some(text) = refusal(&helm, sets) else {
                wrong.push(format!("Helm {} renders {sets:?}", helm.major));
                continue;
            };
            let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
            if !missing.is_empty() {
                wrong.push(format!("Helm {}, {sets:?}: {missing:?} are not in\n{text}", helm.major));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn values_of_other_charts_are_refused_with_the_value_to_use_here() {
    let renamed = std::fs::read_to_string(chart::dir("multus").join("files/renamed.yaml")).unwrap();
    let renamed: std::collections::BTreeMap<String, String> = serde_saphyr::from_str(&renamed).unwrap();
    let helm = Helm::four().unwrap();
    for (old, new) in renamed {
        let text = refusal(&helm, &[&format!("{old}=x")]).unwrap_or_default();
        assert!(text.contains(&format!("{old}: this chart has no such value. Set {new}.")), "{old}: {text}");
    }
}

/// A mirror may call its images as it likes, as long as somebody says what is in them.
#[test]
fn mirrors_of_either_engine_are_let_through() {
    for helm in Helm::both().unwrap() {
        for (engine, repository) in [
            ("multus-rs", "registry.example.com/mirror/multus-cni"),
            ("upstream", "registry.example.com/k8snetworkplumbingwg/multus-cni"),
            ("upstream", "registry.example.com/mirror/multus"),
        ] {
            let sets = [format!("engine={engine}"), format!("image.repository={repository}")];
            assert_eq!(refusal(&helm, &sets.each_ref().map(String::as_str)), None);
        }
    }
}

/// Two anchors, a main chart's condition and other charts' globals are nobody's business.
#[test]
fn what_a_main_chart_adds_is_let_through() {
    for helm in Helm::both().unwrap() {
        let sets = ["enabled=true", "global.somebodyElses.key=1", "x-anchor=1"];
        assert_eq!(refusal(&helm, &sets), None);
    }
}

#[test]
fn both_charts_pass_the_strictest_lint_of_both_helms() {
    for helm in Helm::both().unwrap() {
        for name in ["multus", "multus-crds"] {
            let arguments = ["lint", "--strict", "--kube-version", "v1.34.4"].map(str::to_owned);
            let chart = chart::dir(name).display().to_string();
            let said = helm.run(&[&arguments[..], &[chart]].concat()).unwrap();
            assert!(said.success, "Helm {}: {}{}", helm.major, said.stdout, said.stderr);
        }
    }
}
