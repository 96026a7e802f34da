//! Cases as they are written down in `conformance/cases/*.yaml`; `conformance/README.md` tells the format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

/// One black-box case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) about: String,
    /// Ids of `conformance/requirements.yaml`.
    pub(super) covers: Vec<String>,
    /// Target → why it is known not to do as this case says.
    #[serde(default)]
    pub(super) differs: BTreeMap<String, String>,
    /// Other programs than `multus` that the target must have.
    #[serde(default)]
    pub(super) needs: Vec<String>,
    pub(super) pod: Option<Value>,
    #[serde(default)]
    pub(super) nads: BTreeMap<String, Value>,
    /// Laid over the usual netconf; `null` removes a key.
    #[serde(default)]
    pub(super) netconf: Map<String, Value>,
    #[serde(default)]
    pub(super) files: BTreeMap<String, Value>,
    /// Types of the recording plugins beside `main` and `sec`.
    #[serde(default)]
    pub(super) plugins: Vec<String>,
    /// Whether the CNI reference plugins are found after the recording ones.
    #[serde(default)]
    pub(super) real_plugins: bool,
    /// Whether there is an API server; by default when there is a pod or a NAD.
    pub(super) kubernetes: Option<bool>,
    #[serde(default)]
    pub(super) tls: bool,
    pub(super) steps: Vec<Step>,
}

/// One thing done, and what must be seen then.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Step {
    /// CNI verb to call.
    pub(super) call: Option<String>,
    pub(super) run: Option<Run>,
    pub(super) api: Option<Api>,
    /// Path → content; a value that is no string is written as JSON.
    pub(super) write: BTreeMap<String, Value>,
    /// Files to remove; `*` at the end stands for anything.
    pub(super) remove: Vec<String>,
    /// Commands run in the pod's namespace.
    pub(super) inside: Vec<String>,
    pub(super) delete_netns: bool,
    /// Environment of the call; `null` removes a variable.
    pub(super) env: BTreeMap<String, Option<String>>,
    pub(super) netconf: Map<String, Value>,
    /// Instead of a netconf.
    pub(super) stdin: Option<String>,
    /// Done while the call runs, once it has started its first plugin, or after `meanwhile_after_ms`.
    pub(super) meanwhile: Option<Box<Step>>,
    pub(super) meanwhile_after_ms: Option<u64>,
    /// The call is made by the other target of this run, where there is one.
    pub(super) by_the_other: bool,
    pub(super) expect: Map<String, Value>,
    /// Target → expectations that replace those of `expect` for it.
    pub(super) instead: BTreeMap<String, Map<String, Value>>,
}

/// Another program of the target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) program: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    /// Text on stdout after which it gets SIGTERM.
    pub(super) until: Option<String>,
    /// A step done after that and before SIGTERM.
    pub(super) then: Option<Box<Step>>,
}

/// A change of the API server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Api {
    pub(super) delay_ms: Option<u64>,
    pub(super) refuse: Option<bool>,
    pub(super) forbid_patch: Option<bool>,
    pub(super) token: Option<String>,
    pub(super) delete_pod: bool,
    pub(super) pod: Option<Value>,
    pub(super) nads: BTreeMap<String, Value>,
    pub(super) faults: Vec<ApiFault>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiFault {
    #[serde(default)]
    pub(super) method: String,
    #[serde(default)]
    pub(super) path: String,
    #[serde(default = "once")]
    pub(super) times: usize,
    /// HTTP status; without it the connection is closed.
    pub(super) status: Option<u16>,
    #[serde(default)]
    pub(super) reason: String,
    pub(super) body: Option<String>,
}

fn once() -> usize {
    1
}

/// What a requirement says, and why no case can show it where that is so.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Requirement {
    Text(String),
    #[serde(rename_all = "snake_case")]
    Elsewhere {
        text: String,
        not_here: String,
    },
}

impl Requirement {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Elsewhere { text, .. } => text,
        }
    }

    pub(super) fn not_here(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Elsewhere { not_here, .. } => Some(not_here),
        }
    }
}

/// All that is written down below `conformance/`.
pub(super) struct Book {
    pub(super) cases: Vec<Case>,
    pub(super) requirements: BTreeMap<String, Requirement>,
}

impl Book {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let templates: Map<String, Value> = read(&dir.join("templates.yaml"))?;
        let requirements: BTreeMap<String, Requirement> = read(&dir.join("requirements.yaml"))?;
        let mut cases = Vec::new();
        for path in files(&dir.join("cases"))? {
            let written: Vec<Value> = read(&path)?;
            for value in written {
                let name = value["name"].as_str().unwrap_or("(nameless)").to_owned();
                let value = expand(value, &templates)
                    .with_context(|| format!("case {name} in {}", path.display()))?;
                let case: Case = serde_json::from_value(value)
                    .with_context(|| format!("case {name} in {}", path.display()))?;
                cases.push(case);
            }
        }
        let book = Self { cases, requirements };
        book.verify()?;
        Ok(book)
    }

    /// Each requirement is covered or said not to be coverable, and nothing else is named.
    fn verify(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        let mut covered = BTreeSet::new();
        for case in &self.cases {
            if !names.insert(&case.name) {
                bail!("two cases are called {}", case.name);
            }
            for id in &case.covers {
                if !self.requirements.contains_key(id) {
                    bail!(
                        "case {} covers {id}, which conformance/requirements.yaml does not list",
                        case.name
                    );
                }
                covered.insert(id);
            }
        }
        let missing: Vec<_> = self
            .requirements
            .iter()
            .filter(|(id, requirement)| requirement.not_here().is_none() && !covered.contains(id))
            .map(|(id, _)| id.as_str())
            .collect();
        if !missing.is_empty() {
            bail!(
                "no case covers {}; write one, or say why none can in requirements.yaml",
                missing.join(" ")
            );
        }
        let both: Vec<_> = self
            .requirements
            .iter()
            .filter(|(id, requirement)| requirement.not_here().is_some() && covered.contains(id))
            .map(|(id, _)| id.as_str())
            .collect();
        if !both.is_empty() {
            bail!("requirements.yaml says that {} cannot be shown here, but a case does", both.join(" "));
        }
        Ok(())
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| anyhow::anyhow!("read {}: {error}", path.display()))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Replaces each object that says `use: NAME` by that template with the object's other keys laid over it.
fn expand(value: Value, templates: &Map<String, Value>) -> Result<Value> {
    Ok(match value {
        Value::Array(values) => {
            Value::Array(values.into_iter().map(|value| expand(value, templates)).collect::<Result<_>>()?)
        }
        Value::Object(mut object) => {
            let used = object.remove("use");
            let mut expanded = Map::new();
            for (key, value) in object {
                expanded.insert(key, expand(value, templates)?);
            }
            match used {
                None => Value::Object(expanded),
                Some(name) => {
                    let name = name.as_str().unwrap_or_default();
                    let template =
                        templates.get(name).with_context(|| format!("there is no template {name:?}"))?;
                    let mut value = expand(template.clone(), templates)?;
                    overlay(&mut value, expanded);
                    value
                }
            }
        }
        other => other,
    })
}

/// Lays `over` over the object `value`; `null` removes a key.
pub(super) fn overlay(value: &mut Value, over: Map<String, Value>) {
    let Some(object) = value.as_object_mut() else { return };
    for (key, value) in over {
        if value.is_null() {
            object.remove(&key);
        } else {
            object.insert(key, value);
        }
    }
}
