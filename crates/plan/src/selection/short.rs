//! The short form: `[namespace/]name[@interface]`, separated by commas.

use super::{Annotation, Selection, malformed, too_many, values};
use crate::error::{PlanError, excerpt};

/// Upstream's prefixes of this form's errors.
const PREFIX: &str = "parsePodNetworkAnnotation: parsePodNetworkObjectName: ";

pub(super) fn parse(
    text: &str,
    annotation: Annotation,
    namespace: &str,
) -> Result<Vec<Selection>, PlanError> {
    too_many(text.split(',').count(), annotation)?;
    let item =
        |(at, part): (usize, &str)| parse_item(part.trim(), Selection::new(annotation, at + 1, namespace));
    text.split(',').enumerate().map(item).collect()
}

fn parse_item(part: &str, mut selection: Selection) -> Result<Selection, PlanError> {
    let Selection { item, annotation, .. } = selection;
    let place = format!("item {item} ({:?}) of annotation {annotation}", excerpt(part));
    let wrong = |what: &str, help: &str| malformed(format!("{PREFIX}{what}; {place}: {help}"));

    let (namespace, rest) = part.split_once('/').unwrap_or(("", part));
    if rest.contains('/') {
        let what = "Invalid network object (failed at '/')";
        return Err(wrong(what, "write \"name\" or \"namespace/name\", with one slash at most"));
    }
    let (name, interface) = rest.split_once('@').unwrap_or((rest, ""));
    if interface.contains('@') {
        let what = "Invalid network object (failed at '@')";
        return Err(wrong(what, "write \"name@interface\", with one @ at most"));
    }
    let (namespace, name) = (namespace.trim(), name.trim());
    for part in [namespace, name] {
        if !part.is_empty() && !values::is_label(part) {
            let what = format!(
                "Failed to parse: one or more items did not match comma-delimited format (must consist of lower \
                 case alphanumeric characters). Must start and end with an alphanumeric character), mismatch @ \
                 '{}'",
                excerpt(part)
            );
            return Err(wrong(&what, "use a-z, 0-9 and - only; names with a dot need the JSON form"));
        }
    }
    if !namespace.is_empty() {
        selection.namespace = namespace.to_owned();
    }
    selection.name = name.to_owned();
    if name.is_empty() {
        return Err(values::no_name(&selection, "name a network there, or remove the comma"));
    }
    let interface = interface.trim();
    if !interface.is_empty() {
        values::check_interface(interface).map_err(|help| wrong(&values::interface_text(interface), help))?;
        selection.interface = Some(interface.to_owned());
    }
    Ok(selection)
}
