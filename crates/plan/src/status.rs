//! The status annotation: what was attached, in the words that its readers expect.

mod read;
mod write;

use libcni::{CniResult, Dns, Interface, Ip, Version};
use serde_json::value::RawValue;

use crate::assemble::Planned;
use crate::netconf::SpecMode;

pub use read::{StatusError, parse};
pub use write::text;

/// One entry of the status.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// The network's name.
    pub name: String,
    /// The interface; empty when the result names none.
    pub interface: String,
    /// Addresses; with prefix length in strict mode (N-90).
    pub ips: Vec<String>,
    /// Hardware address; only together with the interface (N-84).
    pub mac: String,
    /// MTU; 0 when unknown.
    pub mtu: i64,
    /// Whether this is the interface that kubelet knows (N-85, N-86).
    pub default: bool,
    /// DNS settings.
    pub dns: Dns,
    /// What the device-info file says (N-118).
    pub device_info: Option<Box<RawValue>>,
    /// Gateways of default routes in the result; upstream's key.
    pub gateway: Vec<String>,
    /// Gateways that the pod asked for (N-88).
    pub default_route: Option<Vec<String>>,
    /// Keys of others, when the entry was read.
    pub other: std::collections::BTreeMap<String, Box<RawValue>>,
}

/// The entries of one attachment; always at least one (N-75, N-77).
pub fn entries(
    planned: &Planned,
    result: &CniResult,
    device_info: Option<&RawValue>,
    mode: SpecMode,
) -> Vec<Entry> {
    let base = base(planned, result, device_info, mode);
    match mode {
        SpecMode::Strict => vec![strict(planned, result, base)],
        SpecMode::Compat => compat(planned, result, &base),
    }
}

/// What all entries of one attachment have in common.
fn base(planned: &Planned, result: &CniResult, device_info: Option<&RawValue>, mode: SpecMode) -> Entry {
    let strict = mode == SpecMode::Strict;
    let gateways = result.routes().iter().filter(|route| route.dst.prefix_len() == 0).filter_map(|r| r.gw);
    Entry {
        name: if strict { planned.qualified_name.clone() } else { planned.name.clone() },
        dns: result.dns().clone(),
        device_info: device_info.map(RawValue::to_owned),
        gateway: if strict { Vec::new() } else { gateways.map(|gw| gw.to_string()).collect() },
        default_route: planned
            .default_route
            .as_ref()
            .map(|gateways| gateways.iter().map(ToString::to_string).collect()),
        ..Entry::default()
    }
}

fn with_interface(base: &Entry, interface: &Interface) -> Entry {
    Entry {
        interface: interface.name.clone(),
        mac: interface.mac.clone(),
        mtu: interface.mtu,
        ..base.clone()
    }
}

fn in_sandbox(interface: &Interface) -> bool {
    !interface.sandbox.is_empty()
}

fn plain(ip: &Ip) -> String {
    ip.address.addr().to_string()
}

/// Upstream's entries: one for each interface in the sandbox.
fn compat(planned: &Planned, result: &CniResult, base: &Entry) -> Vec<Entry> {
    let interfaces = result.interfaces();
    if let [only] = interfaces {
        let mut entry = if in_sandbox(only) { with_interface(base, only) } else { base.clone() };
        entry.ips = result.ips().iter().map(plain).collect();
        entry.default = planned.primary;
        return vec![entry];
    }
    let sandbox: Vec<usize> = indexes_in_sandbox(interfaces);
    let Some((&first, &last)) = sandbox.first().zip(sandbox.last()) else {
        return vec![minimal(planned, result, base.clone(), plain)];
    };
    let default = default_interface(result, &sandbox).unwrap_or(first);
    sandbox
        .into_iter()
        .map(|index| {
            let mut entry = with_interface(base, &interfaces[index]);
            // Addresses without an index go to the last interface.
            let here = |ip: &&Ip| ip.interface.map_or(index == last, |at| usize::try_from(at) == Ok(index));
            entry.ips = result.ips().iter().filter(here).map(plain).collect();
            entry.default = planned.primary && index == default;
            entry
        })
        .collect()
}

fn indexes_in_sandbox(interfaces: &[Interface]) -> Vec<usize> {
    (0..interfaces.len()).filter(|index| in_sandbox(&interfaces[*index])).collect()
}

/// The interface of the first address that has both a gateway and an index, if it is in the sandbox.
fn default_interface(result: &CniResult, sandbox: &[usize]) -> Option<usize> {
    let at = result.ips().iter().find(|ip| ip.gateway.is_some() && ip.interface.is_some())?.interface?;
    usize::try_from(at).ok().filter(|at| sandbox.contains(at))
}

/// The entry of a result without interfaces: what can be said (N-75, N-76). Results before 0.3.0 know no
/// interfaces; theirs is the one that the plugin was asked for (N-81, N-83).
fn minimal(planned: &Planned, result: &CniResult, base: Entry, address: fn(&Ip) -> String) -> Entry {
    let mut entry = Entry { default: planned.primary, ..base };
    entry.ips = result.ips().iter().filter(|ip| ip.interface.is_none()).map(address).collect();
    if Version::parse(result.version()).is_ok_and(|version| version < Version::V0_3_0) {
        entry.interface.clone_from(&planned.if_name);
    }
    entry
}

/// The specification's entry: the first interface in the sandbox (N-74), and what belongs to it.
fn strict(planned: &Planned, result: &CniResult, base: Entry) -> Entry {
    let cidr = |ip: &Ip| ip.address.to_string();
    let interfaces = result.interfaces();
    let Some(&first) = indexes_in_sandbox(interfaces).first() else {
        return minimal(planned, result, base, cidr);
    };
    let mut entry = Entry { mtu: 0, default: planned.primary, ..with_interface(&base, &interfaces[first]) };
    let of_first = |ip: &&Ip| ip.interface.is_some_and(|at| usize::try_from(at) == Ok(first));
    entry.ips = result.ips().iter().filter(of_first).map(cidr).collect();
    if entry.ips.is_empty() {
        // N-82: then the first without an index.
        entry.ips = result.ips().iter().find(|ip| ip.interface.is_none()).map(cidr).into_iter().collect();
    }
    entry
}

#[cfg(test)]
mod tests;
