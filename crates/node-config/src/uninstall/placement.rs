//! On which nodes the pods of a template may be: what a scheduler would require of a node's name and labels.
//!
//! Taints are left out on purpose: they come and go with a node's health, and a node that is cordoned off keeps its network.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The part of a pod's `spec` that chooses nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Placement {
    node_name: String,
    node_selector: BTreeMap<String, String>,
    affinity: Affinity,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Affinity {
    node_affinity: NodeAffinity,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<Required>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Required {
    node_selector_terms: Vec<Term>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Term {
    match_expressions: Vec<Requirement>,
    match_fields: Vec<Requirement>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Placement {
    /// Whether a node of this name, with these labels, is one of them.
    ///
    /// # Errors
    /// When it requires something that is not known here.
    pub fn selects(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<bool, String> {
        let named = self.node_name.is_empty() || self.node_name == name;
        let labelled = self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        let required = &self.affinity.node_affinity.required_during_scheduling_ignored_during_execution;
        let affine = match required {
            None => true,
            Some(required) => any(&required.node_selector_terms, |term| term.fits(name, labels))?,
        };
        Ok(named && labelled && affine)
    }
}

impl Term {
    /// An empty term fits no node.
    fn fits(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<bool, String> {
        if self.match_expressions.is_empty() && self.match_fields.is_empty() {
            return Ok(false);
        }
        let fields = BTreeMap::from([("metadata.name".to_owned(), name.to_owned())]);
        if let Some(unknown) = self.match_fields.iter().find(|field| !fields.contains_key(&field.key)) {
            return Err(format!("it matches the field {:?} of nodes", unknown.key));
        }
        Ok(all(&self.match_expressions, |one| one.fits(labels))?
            && all(&self.match_fields, |one| one.fits(&fields))?)
    }
}

impl Requirement {
    fn fits(&self, labels: &BTreeMap<String, String>) -> Result<bool, String> {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        Ok(match self.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => self.compares(value, |label, bound| label > bound),
            "Lt" => self.compares(value, |label, bound| label < bound),
            other => return Err(format!("it uses the operator {other:?}")),
        })
    }

    /// What is no whole number fits nothing.
    fn compares(&self, value: Option<&String>, fits: impl Fn(i64, i64) -> bool) -> bool {
        let number = |text: &String| text.parse::<i64>().ok();
        let [bound] = self.values.as_slice() else { return false };
        matches!((value.and_then(number), number(bound)), (Some(label), Some(bound)) if fits(label, bound))
    }
}

fn any<T>(items: &[T], fits: impl Fn(&T) -> Result<bool, String>) -> Result<bool, String> {
    let mut found = false;
    for item in items {
        found |= fits(item)?;
    }
    Ok(found)
}

fn all<T>(items: &[T], fits: impl Fn(&T) -> Result<bool, String>) -> Result<bool, String> {
    any(items, |item| fits(item).map(|fits| !fits)).map(|unfit| !unfit)
}
