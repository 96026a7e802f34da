//! Requests that no plugin declares, and whether a result shows that they were met all the same.

use libcni::{CniResult, Network};

use crate::address;
use crate::assemble::Planned;
use crate::error::PlanError;
use crate::events::{self, PlanEvent};
use crate::selection::Selection;

/// A request of a pod that no plugin of its network declares.
///
/// `mac` and `ips` go by `CNI_ARGS` whatever is declared, as upstream sends them: bridge, macvlan, tuning, ovs and sriov read
/// `MAC` there, host-local and static `IP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeclared {
    /// Its key in the annotation.
    key: &'static str,
    /// What is asked for, where it goes by `CNI_ARGS`.
    asked: Vec<String>,
    /// Who asks for it, of what.
    problem: String,
    /// What to do.
    remedy: String,
}

/// What a result says of a request.
enum Told {
    Met,
    Nothing,
    /// What it has in its place.
    Otherwise(String),
}

impl Undeclared {
    pub(crate) fn new(
        selection: &Selection,
        network: &Network,
        key: &'static str,
        capability: &'static str,
    ) -> Undeclared {
        let types: Vec<&str> = network.plugins.iter().map(|plugin| plugin.plugin_type.as_str()).collect();
        Undeclared {
            key,
            asked: match key {
                "mac" => selection.mac.iter().cloned().collect(),
                "ips" => selection.ips.clone(),
                _ => Vec::new(),
            },
            problem: format!(
                "{} asks for {key:?}, but no plugin of network {:?} ({}) declares the capability {capability:?}",
                selection.label(),
                network.name,
                types.join(", "),
            ),
            remedy: format!(
                "add \"capabilities\": {{{capability:?}: true}} to a plugin that can do it, in \
                 NetworkAttachmentDefinition {}, or remove {key:?} from the item",
                selection.full_name()
            ),
        }
    }

    /// Whether plugins can know of it although none declares it.
    pub(crate) fn goes_by_arguments(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Why it is refused; `found` is what a result has in its place.
    pub(crate) fn refusal(&self, found: Option<&str>) -> String {
        let Undeclared { problem, remedy, .. } = self;
        match found {
            None => format!("{problem}: {remedy}"),
            Some(found) => format!(
                "{problem}, and passed in CNI_ARGS it was not honoured: the result has {found} in place of {}: {remedy}",
                self.asked.join(", ")
            ),
        }
    }

    fn told_by(&self, result: &CniResult, if_name: &str) -> Told {
        match self.key {
            "mac" => self.mac_told_by(result, if_name),
            _ => self.ips_told_by(result),
        }
    }

    fn mac_told_by(&self, result: &CniResult, if_name: &str) -> Told {
        let own =
            |of: &&libcni::Interface| !of.sandbox.is_empty() && of.name == if_name && !of.mac.is_empty();
        let Some(interface) = result.interfaces().iter().find(own) else { return Told::Nothing };
        match self.asked.iter().any(|asked| address::hardware(asked) == address::hardware(&interface.mac)) {
            true => Told::Met,
            false => Told::Otherwise(interface.mac.clone()),
        }
    }

    /// Prefix lengths are not compared: host-local gives the address that is asked for with its range's.
    fn ips_told_by(&self, result: &CniResult) -> Told {
        let ips = result.ips();
        if ips.is_empty() {
            return Told::Nothing;
        }
        let given = |asked: &String| {
            let asked = address::ip(asked.split_once('/').map_or(asked, |(address, _)| address));
            ips.iter().any(|ip| Some(ip.address.addr()) == asked)
        };
        match self.asked.iter().all(given) {
            true => Told::Met,
            false => {
                Told::Otherwise(ips.iter().map(|ip| ip.address.to_string()).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Compares what the pod asked for and no plugin declares with what the plugins did, so that no request is dropped without a word
/// (N-33, N-36). What the result does not tell is a warning.
///
/// # Errors
/// [`PlanError::Request`] where the result has something else: the attachment has to be undone.
pub fn confirm(planned: &Planned, result: &CniResult) -> Result<Vec<PlanEvent>, PlanError> {
    let mut warnings = Vec::new();
    for request in planned.undeclared.iter().filter(|request| request.goes_by_arguments()) {
        match request.told_by(result, &planned.if_name) {
            Told::Met => {}
            Told::Nothing => warnings.push(events::request_unconfirmed(&request.problem, &request.remedy)),
            Told::Otherwise(found) => {
                return Err(PlanError::Request { text: request.refusal(Some(&found)) });
            }
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests;
