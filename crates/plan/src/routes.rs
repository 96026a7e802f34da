//! Who has the pod's default route (N-58 to N-63).

use crate::assemble::Origin;
use crate::error::PlanError;
use crate::resolve::Chosen;
use crate::selection;

/// Which default routes of an attachment's own go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

/// What is settled about default routes.
pub(crate) struct Routes {
    pub(crate) clears: bool,
    pub(crate) filters: Vec<Filter>,
}

/// One attachment may ask for the default route; the others lose theirs, of both families, and the one keeps
/// those of the families that it names gateways of. The auxiliary chain is no network of the pod and is left
/// alone, as upstream leaves it.
pub(crate) fn settle(chosen: &[Chosen<'_>]) -> Result<Routes, PlanError> {
    let gateways = |of: &Chosen<'_>| of.selection.as_ref().and_then(|s| s.default_route.clone());
    let asking: Vec<&Chosen<'_>> = chosen.iter().filter(|of| gateways(of).is_some()).collect();
    if let [first, second, ..] = asking.as_slice() {
        let text = selection::two_default_routes(&first.label(), &second.label());
        return Err(PlanError::Request { text });
    }
    let clears = !asking.is_empty();
    let filter = |of: &Chosen<'_>| {
        let own = gateways(of).unwrap_or_default();
        let concerned = clears && of.origin != Origin::AuxiliaryChain;
        Filter {
            v4: concerned && !own.iter().any(|gateway| gateway.is_ipv4()),
            v6: concerned && !own.iter().any(|gateway| gateway.is_ipv6()),
        }
    };
    Ok(Routes { clears, filters: chosen.iter().map(filter).collect() })
}
