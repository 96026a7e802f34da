//! CHECK and STATUS.

use std::time::Instant;

use libcni::Network;
use plan::{PlanEvent, Sandbox, SpecMode};

use crate::error::Error;
use crate::host::Host;
use crate::journal::{Element, Loaded, Store};
use crate::lock::SandboxLock;
use crate::undo::Undo;

/// What CHECK found.
#[derive(Debug)]
pub struct Checked {
    /// Networks that are not as they were left and do not make CHECK fail.
    pub differences: Vec<PlanEvent>,
}

/// Verifies the sandbox's networks against the results that they were left with. In compat mode the default network decides
/// and the others are reported: several plugins in the field answer CHECK with an error whatever the state (C-41).
///
/// # Errors
/// The plugin's own error (C-37), for the default network or, in strict mode, for the first network that differs.
pub fn check(host: &Host, sandbox: &Sandbox, mode: SpecMode, deadline: Instant) -> Result<Checked, Error> {
    let id = &sandbox.container_id;
    let lock = SandboxLock::acquire(&host.cni_dir, id, deadline).map_err(|error| Error::locked(id, error))?;
    let elements = match Store::new(&host.cni_dir).load(id) {
        Loaded::Found(elements) => elements,
        Loaded::Missing => {
            lock.release_and_remove();
            return Err(Error::Unknown(id.clone()));
        }
        Loaded::Broken(reason) => {
            let text = format!("{reason}; delete the pod, so that its networks are freed and made again");
            return Err(Error::Check(libcni::CniError::new(libcni::CniError::DECODE, text, "")));
        }
    };
    let undo = Undo::new(host, sandbox, deadline);
    let mut checked = Checked { differences: Vec::new() };
    for (index, element) in elements.iter().enumerate() {
        let Err(error) = one(&undo, element, index) else { continue };
        let primary = element.own.as_ref().map_or(index == 0, |own| own.primary);
        if primary || mode == SpecMode::Strict {
            return Err(Error::Check(error.to_cni()));
        }
        checked.differences.push(PlanEvent::warning(
            "NetworkCheckFailed",
            format!("network {} is not as it was attached: {error}", element.name),
        ));
    }
    Ok(checked)
}

fn one(undo: &Undo<'_>, element: &Element, index: usize) -> Result<(), libcni::Error> {
    let attachment = undo.attachment(element, index);
    match undo.runtime(undo.deadline).check(&element.network, &attachment) {
        // There is nothing to call for networks of before 0.4.0; the runtime asked about the sandbox, not about them.
        Err(libcni::Error::CheckUnsupported(_)) => Ok(()),
        other => other,
    }
}

/// Asks the default network's plugins whether they can serve ADD.
///
/// # Errors
/// The plugin's own error, its code unchanged (Q20).
pub fn status(host: &Host, primary: &Network, deadline: Instant) -> Result<(), Error> {
    host.runtime(deadline).status(primary).map_err(|error| Error::Status(error.to_cni()))
}

#[cfg(test)]
mod tests;
