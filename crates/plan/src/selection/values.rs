//! Checks of single values, the same for both forms.

use super::{Annotation, Selection};
use crate::address;
use crate::error::PlanError;
use crate::events;

/// A DNS-1123 label without its limit of 63 characters, which upstream does not apply to the short form (N-9,
/// N-10).
pub(super) fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// What Kubernetes allows as the name of a custom object: labels, separated by dots (Q42).
pub(crate) fn is_object_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

pub(super) fn has_octets(text: &str, count: usize) -> bool {
    address::hardware(text).is_some_and(|octets| octets.len() == count)
}

/// The protocol as plugins expect it; `tcp` when none is given (N-48).
pub(super) fn protocol(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("tcp");
    }
    ["tcp", "udp", "sctp"].into_iter().find(|protocol| text.eq_ignore_ascii_case(protocol))
}

/// N-38: what the kernel takes as the name of an interface. The error says what to do.
pub(super) fn check_interface(name: &str) -> Result<(), &'static str> {
    if name.len() > 15 {
        return Err("shorten the interface name to 15 bytes");
    }
    if name == "." || name == ".." {
        return Err("choose another interface name than . or ..");
    }
    if name == "lo" {
        return Err("choose another interface name: lo is the loopback interface");
    }
    // The kernel would replace %d by a number, and the interface would not get exactly this name.
    if name.chars().any(|c| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control()) {
        return Err("remove spaces, control characters and / : % from the interface name");
    }
    Ok(())
}

pub(super) fn interface_text(name: &str) -> String {
    format!(
        "Failed to parse interface name: must be less than 15 chars and not contain '/' or spaces. interface name \
         '{}'",
        crate::error::excerpt(name)
    )
}

/// N-25. Upstream notices a missing name only when the API server refuses it; the text is the same.
pub(super) fn no_name(selection: &Selection, help: &str) -> PlanError {
    let namespace = &selection.namespace;
    let cause = events::not_found_text("", namespace, "resource name may not be empty");
    let place = match selection.annotation {
        Annotation::Networks => "GetNetworkDelegates: failed getting the delegate: ",
        Annotation::DefaultNetwork => "",
    };
    super::malformed(format!(
        "{place}getKubernetesDelegate: {cause}; item {} of annotation {} has no name: {help}",
        selection.item, selection.annotation
    ))
}
