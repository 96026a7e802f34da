//! The names of the interfaces (N-37 to N-41, N-70).

use std::collections::BTreeMap;

use crate::assemble::{adding_prefix, type_of};
use crate::error::PlanError;
use crate::facts::Facts;
use crate::resolve::Chosen;

/// Two attachments that would have the same interface.
#[derive(Debug)]
pub(crate) struct Collision {
    name: String,
    first: usize,
    second: usize,
}

/// The name of each attachment's interface: as requested, else the runtime's for the default network, else
/// `net` and the place among all attachments. Upstream finds a name that is used twice when the second plugin
/// runs; here nothing has run yet (N-40).
pub(crate) fn interfaces(chosen: &[Chosen<'_>], primary: &str) -> Result<Vec<String>, Collision> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut names = Vec::with_capacity(chosen.len());
    for (index, of) in chosen.iter().enumerate() {
        let requested = of.selection.as_ref().and_then(|selection| selection.interface.clone());
        let name = requested.unwrap_or_else(|| match index {
            0 => primary.to_owned(),
            _ => format!("net{index}"),
        });
        if let Some(first) = taken.insert(name.clone(), index) {
            return Err(Collision { name, first, second: index });
        }
        names.push(name);
    }
    Ok(names)
}

impl Collision {
    pub(crate) fn of_network(self, facts: &Facts<'_>, chosen: &[Chosen<'_>]) -> PlanError {
        let Collision { name, first, second } = self;
        let label = |index: usize| chosen.get(index).map(Chosen::label).unwrap_or_default();
        let Some(network) = chosen.get(second).map(|of| &of.network) else {
            return PlanError::Request { text: format!("interface name {name} is used twice") };
        };
        PlanError::Request {
            text: format!(
                "{}DelegateAdd: cannot set {:?} interface name to {name:?}: validateIfName: interface name {name} \
                 already exists; {} would get the interface of {}: request another \"interface\" in one of them \
                 (attachments without a request are called net1, net2, … by their place)",
                adding_prefix(facts, network),
                type_of(network),
                label(second),
                label(first)
            ),
        }
    }
}
