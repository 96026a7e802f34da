//! `CNI_ARGS` of each attachment.

use crate::facts::Facts;
use crate::selection::Selection;

const STANDARD: [&str; 5] =
    ["IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID"];

/// The five standard arguments in upstream's order, each once (Q17), then what else the runtime passed, then the
/// requested addresses. `MAC` and `IP` of the runtime belong to its own interface and go to the default network
/// alone, as its `runtimeConfig` does (N-103).
pub(crate) fn cni_args(
    facts: &Facts<'_>,
    primary: bool,
    selection: Option<&Selection>,
) -> Vec<(String, String)> {
    let identity = facts.identity;
    let values = ["true", &identity.namespace, &identity.name, &identity.infra_container_id, &identity.uid];
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let mut args: Vec<(String, String)> = STANDARD.into_iter().zip(values).map(pair).collect();

    let mac = selection.and_then(|selection| selection.mac.clone());
    let ips = selection.map(|selection| selection.ips.join(",")).filter(|ips| !ips.is_empty());
    let kept = |key: &str| match key {
        "MAC" => primary && mac.is_none(),
        "IP" => primary && ips.is_none(),
        _ => !STANDARD.contains(&key),
    };
    args.extend(facts.sandbox.args.iter().filter(|(key, _)| kept(key)).cloned());
    args.extend(mac.map(|mac| ("MAC".to_owned(), mac)));
    args.extend(ips.map(|ips| ("IP".to_owned(), ips)));
    args
}
