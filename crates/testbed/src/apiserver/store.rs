//! The objects, and what a real server answers about them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::watch::Log;
use super::{Request, protobuf};

/// An event as a client posted it, in whatever encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `Normal` or `Warning`.
    pub event_type: String,
    /// `AddedInterface`, …
    pub reason: String,
    /// The text.
    pub message: String,
    /// `source.component`.
    pub component: String,
    /// Kind, namespace and name of the object.
    pub about: String,
    /// UID of the object.
    pub about_uid: String,
}

pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn status(code: u16, reason: &str, message: &str) -> Self {
        Self::json(
            code,
            &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                    "reason": reason, "code": code}),
        )
    }

    pub(super) fn unknown() -> Self {
        Self::status(404, "NotFound", "the server could not find the requested resource")
    }

    fn json(code: u16, value: &Value) -> Self {
        Self { code, body: value.to_string().into_bytes() }
    }
}

type Key = (String, String);

pub(super) struct Store {
    pub(super) pods: BTreeMap<Key, Value>,
    pub(super) nads: BTreeMap<Key, Value>,
    pub(super) daemon_sets: BTreeMap<Key, Value>,
    nodes: BTreeMap<Key, Value>,
    namespaces: BTreeMap<Key, Value>,
    pub(super) signing_requests: BTreeMap<Key, Value>,
    pub(super) events: Vec<Event>,
    pub(super) log: Log,
    version: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            pods: BTreeMap::new(),
            nads: BTreeMap::new(),
            daemon_sets: BTreeMap::new(),
            nodes: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            signing_requests: BTreeMap::new(),
            events: Vec::new(),
            log: Log::default(),
            // No real server's storage is at 0, which in a request means "any version".
            version: 1,
        }
    }
}

/// What a list or a watch is about.
pub(super) struct Collection {
    pub(super) plural: &'static str,
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    namespace: Option<String>,
    /// `metadata.name` and `spec.nodeName` of the field selector.
    name: Option<String>,
    node: Option<String>,
}

impl Collection {
    pub(super) fn of(request: &Request) -> Option<Self> {
        let parts: Vec<_> = request.path.trim_start_matches('/').split('/').collect();
        let (api_version, rest) = match parts.as_slice() {
            ["api", "v1", rest @ ..] => ("v1", rest),
            ["apis", "apps", "v1", rest @ ..] => ("apps/v1", rest),
            ["apis", "certificates.k8s.io", "v1", rest @ ..] => ("certificates.k8s.io/v1", rest),
            ["apis", "k8s.cni.cncf.io", "v1", rest @ ..] => ("k8s.cni.cncf.io/v1", rest),
            _ => return None,
        };
        let (namespace, plural) = match rest {
            ["namespaces", namespace, plural] => (Some((*namespace).to_owned()), *plural),
            [plural] => (None, *plural),
            _ => return None,
        };
        let (plural, kind) = match (api_version, plural) {
            ("v1", "pods") => ("pods", "Pod"),
            ("apps/v1", "daemonsets") => ("daemonsets", "DaemonSet"),
            ("certificates.k8s.io/v1", "certificatesigningrequests") => {
                ("certificatesigningrequests", "CertificateSigningRequest")
            }
            ("k8s.cni.cncf.io/v1", "network-attachment-definitions") => {
                ("network-attachment-definitions", "NetworkAttachmentDefinition")
            }
            _ => return None,
        };
        let query = request.query_values();
        let selected = |key: &str| {
            let terms = query.get("fieldSelector")?.split(',').filter_map(|term| term.split_once('='));
            terms.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
        };
        let (name, node) = (selected("metadata.name"), selected("spec.nodeName"));
        Some(Self { plural, kind, api_version, namespace, name, node })
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        let fits = |wanted: &Option<String>, is: &Value| wanted.as_ref().is_none_or(|wanted| is == wanted);
        fits(&self.namespace, &object["metadata"]["namespace"])
            && fits(&self.name, &object["metadata"]["name"])
            && fits(&self.node, &object["spec"]["nodeName"])
    }
}

/// The object as `PartialObjectMetadata`.
pub(super) fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

impl Store {
    pub(super) fn add_pod(&mut self, pod: Value) {
        let (key, pod) = self.complete(pod, "Pod", "v1");
        let kind = if self.pods.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.log.push(self.version, kind, "pods", &pod);
        self.pods.insert(key, pod);
    }

    pub(super) fn add_nad(&mut self, nad: Value) {
        let (key, nad) = self.complete(nad, "NetworkAttachmentDefinition", "k8s.cni.cncf.io/v1");
        let kind = if self.nads.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.log.push(self.version, kind, "network-attachment-definitions", &nad);
        self.nads.insert(key, nad);
    }

    pub(super) fn add_daemon_set(&mut self, daemon_set: Value) {
        let (key, daemon_set) = self.complete(daemon_set, "DaemonSet", "apps/v1");
        let kind = if self.daemon_sets.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.log.push(self.version, kind, "daemonsets", &daemon_set);
        self.daemon_sets.insert(key, daemon_set);
    }

    pub(super) fn add_signing_request(&mut self, request: Value) {
        let ((_, name), mut request) =
            self.complete(request, "CertificateSigningRequest", "certificates.k8s.io/v1");
        if let Some(metadata) = request["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        let key = (String::new(), name);
        let kind = if self.signing_requests.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.log.push(self.version, kind, "certificatesigningrequests", &request);
        self.signing_requests.insert(key, request);
    }

    pub(super) fn add_node(&mut self, node: Value) {
        let ((_, name), node) = self.complete(node, "Node", "v1");
        self.nodes.insert((String::new(), name), node);
    }

    pub(super) fn add_namespace(&mut self, namespace: Value) {
        let ((_, name), namespace) = self.complete(namespace, "Namespace", "v1");
        self.namespaces.insert((String::new(), name), namespace);
    }

    /// Removes an object of the collection `plural`.
    pub(super) fn delete(&mut self, plural: &'static str, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let removed = match plural {
            "pods" => self.pods.remove(&key),
            "daemonsets" => self.daemon_sets.remove(&key),
            "certificatesigningrequests" => self.signing_requests.remove(&key),
            _ => self.nads.remove(&key),
        };
        let Some(mut object) = removed else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log.push(self.version, "DELETED", plural, &object);
    }

    /// What watches are told without an object having changed.
    pub(super) fn tell_watches(&mut self, kind: &'static str, text: &str) {
        self.version += 1;
        self.log.push(self.version, kind, "", &text.into());
    }

    /// Forgets what changed until now.
    pub(super) fn expire(&mut self) {
        self.version += 1;
        self.log.expire(self.version);
    }

    /// Fills in what a real server would.
    fn complete(&mut self, mut object: Value, kind: &str, api_version: &str) -> (Key, Value) {
        self.version += 1;
        let text = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
        let key = (text(&object["metadata"]["namespace"], "default"), text(&object["metadata"]["name"], ""));
        object["kind"] = kind.into();
        object["apiVersion"] = api_version.into();
        object["metadata"]["namespace"] = key.0.clone().into();
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        object["metadata"]["creationTimestamp"] = "2026-01-02T03:04:05Z".into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}-{}", key.0, key.1).into();
        }
        (key, object)
    }

    pub(super) fn answer(&mut self, request: &Request) -> Answer {
        let parts: Vec<_> = request.path.trim_start_matches('/').split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["version"]) => {
                Answer::json(200, &json!({"major": "1", "minor": "34", "gitVersion": "v1.34.4"}))
            }
            ("GET", ["healthz" | "readyz" | "livez"]) => Answer { code: 200, body: b"ok".to_vec() },
            ("GET", ["api", "v1", "namespaces", namespace, "pods", name]) => {
                found(&self.pods, "pods", namespace, name)
            }
            (
                "GET",
                [
                    "apis",
                    "k8s.cni.cncf.io",
                    "v1",
                    "namespaces",
                    namespace,
                    "network-attachment-definitions",
                    name,
                ],
            ) => found(&self.nads, "network-attachment-definitions.k8s.cni.cncf.io", namespace, name),
            ("PUT", ["api", "v1", "namespaces", namespace, "pods", name, "status"]) => {
                self.put(namespace, name, request)
            }
            ("PATCH", ["api", "v1", "namespaces", namespace, "pods", name, "status"]) => {
                self.patch(namespace, name, request)
            }
            (
                "POST",
                ["api", "v1", "namespaces", _, "events"]
                | ["apis", "events.k8s.io", "v1", "namespaces", _, "events"],
            ) => self.post_event(request),
            ("PATCH", ["api", "v1", "namespaces", _, "events", _]) => self.post_event(request),
            ("GET", ["apis", "apps", "v1", "namespaces", namespace, "daemonsets", name]) => {
                found(&self.daemon_sets, "daemonsets.apps", namespace, name)
            }
            ("GET", ["api", "v1", "nodes", name]) => found(&self.nodes, "nodes", "", name),
            ("GET", ["api", "v1", "namespaces", name]) => found(&self.namespaces, "namespaces", "", name),
            ("GET", ["apis", "certificates.k8s.io", "v1", "certificatesigningrequests", name]) => {
                found(&self.signing_requests, "certificatesigningrequests.certificates.k8s.io", "", name)
            }
            (
                "PUT",
                ["apis", "certificates.k8s.io", "v1", "certificatesigningrequests", name, "approval"],
            ) => self.put_approval(name, request),
            ("GET", _) => match Collection::of(request) {
                Some(collection) => self.list(&collection, request),
                None => Answer::unknown(),
            },
            _ => Answer::unknown(),
        }
    }

    /// A page of a list; the token for the next one is the key of this one's last.
    fn list(&self, collection: &Collection, request: &Request) -> Answer {
        let objects = match collection.plural {
            "pods" => &self.pods,
            "daemonsets" => &self.daemon_sets,
            "certificatesigningrequests" => &self.signing_requests,
            _ => &self.nads,
        };
        let query = request.query_values();
        let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        let after = query.get("continue").filter(|token| !token.is_empty());
        let after = after.and_then(|token| token.split_once('/')).map(|(a, b)| (a.to_owned(), b.to_owned()));
        let mut selected = objects.iter().filter(|(key, object)| {
            after.as_ref().is_none_or(|after| *key > after) && collection.selects(object)
        });
        let metadata_only = request.wants_metadata();
        let items: Vec<_> = selected
            .by_ref()
            .take(limit)
            .map(|(key, object)| (key, if metadata_only { metadata_of(object) } else { object.clone() }))
            .collect();
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if let (Some(((namespace, name), _)), Some(_)) = (items.last(), selected.next()) {
            metadata["continue"] = format!("{namespace}/{name}").into();
        }
        let items: Vec<_> = items.into_iter().map(|(_, object)| object).collect();
        let kind = if metadata_only { "PartialObjectMetadata" } else { collection.kind };
        let api_version = if metadata_only { "meta.k8s.io/v1" } else { collection.api_version };
        let kind = format!("{kind}List");
        Answer::json(
            200,
            &json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items}),
        )
    }

    fn put(&mut self, namespace: &str, name: &str, request: &Request) -> Answer {
        let Some(given) = protobuf::pod(&request.body).or_else(|| serde_json::from_slice(&request.body).ok())
        else {
            return Answer::status(400, "BadRequest", "the body is neither JSON nor protobuf of a pod");
        };
        let Some(pod) = self.pods.get_mut(&(namespace.to_owned(), name.to_owned())) else {
            return not_found("pods", name);
        };
        for (field, what) in [("uid", "UID"), ("resourceVersion", "resource version")] {
            let (wanted, is) = (&given["metadata"][field], &pod["metadata"][field]);
            if wanted.as_str().is_some_and(|wanted| !wanted.is_empty()) && wanted != is {
                return conflict(name, what, wanted, is);
            }
        }
        // The status subresource takes annotations along with the status; the spec stays.
        pod["metadata"]["annotations"] = given["metadata"]["annotations"].clone();
        self.version += 1;
        pod["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log.push(self.version, "MODIFIED", "pods", pod);
        Answer::json(200, pod)
    }

    /// The subresource takes the conditions and nothing else.
    fn put_approval(&mut self, name: &str, request: &Request) -> Answer {
        let Ok(given) = serde_json::from_slice::<Value>(&request.body) else {
            return Answer::status(400, "BadRequest", "the body is not JSON");
        };
        let Some(found) = self.signing_requests.get_mut(&(String::new(), name.to_owned())) else {
            return not_found("certificatesigningrequests.certificates.k8s.io", name);
        };
        let (wanted, is) = (&given["metadata"]["resourceVersion"], &found["metadata"]["resourceVersion"]);
        if wanted != is {
            return conflict(name, "resource version", wanted, is);
        }
        found["status"]["conditions"] = given["status"]["conditions"].clone();
        self.version += 1;
        found["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log.push(self.version, "MODIFIED", "certificatesigningrequests", found);
        Answer::json(200, found)
    }

    fn patch(&mut self, namespace: &str, name: &str, request: &Request) -> Answer {
        let kind = request.headers.get("content-type").map_or("", String::as_str);
        if !["application/merge-patch+json", "application/strategic-merge-patch+json"].contains(&kind) {
            return Answer::status(
                415,
                "UnsupportedMediaType",
                &format!("the patch type {kind:?} is not supported here"),
            );
        }
        let Ok(patch) = serde_json::from_slice::<Value>(&request.body) else {
            return Answer::status(400, "BadRequest", "the body is not JSON");
        };
        let Some(pod) = self.pods.get_mut(&(namespace.to_owned(), name.to_owned())) else {
            return not_found("pods", name);
        };
        for (field, what) in [("uid", "UID"), ("resourceVersion", "resource version")] {
            let (wanted, is) = (&patch["metadata"][field], &pod["metadata"][field]);
            if !wanted.is_null() && wanted != is {
                return conflict(name, what, wanted, is);
            }
        }
        merge(&mut pod["metadata"]["annotations"], &patch["metadata"]["annotations"]);
        self.version += 1;
        pod["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log.push(self.version, "MODIFIED", "pods", pod);
        Answer::json(200, pod)
    }

    fn post_event(&mut self, request: &Request) -> Answer {
        let posted = protobuf::event(&request.body).or_else(|| serde_json::from_slice(&request.body).ok());
        let Some(event) = posted else {
            return Answer::status(400, "BadRequest", "the body is neither JSON nor protobuf of an event");
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let about =
            if event["involvedObject"].is_null() { &event["regarding"] } else { &event["involvedObject"] };
        self.events.push(Event {
            event_type: text(&event["type"]),
            reason: text(&event["reason"]),
            message: text(if event["message"].is_null() { &event["note"] } else { &event["message"] }),
            component: text(&event["source"]["component"]),
            about: format!("{} {}/{}", text(&about["kind"]), text(&about["namespace"]), text(&about["name"])),
            about_uid: text(&about["uid"]),
        });
        Answer::json(201, &event)
    }
}

fn found(objects: &BTreeMap<Key, Value>, resource: &str, namespace: &str, name: &str) -> Answer {
    match objects.get(&(namespace.to_owned(), name.to_owned())) {
        Some(object) => Answer::json(200, object),
        None => not_found(resource, name),
    }
}

fn not_found(resource: &str, name: &str) -> Answer {
    let (kind, group) = resource.split_once('.').unwrap_or((resource, ""));
    let mut details =
        Map::from_iter([("name".to_owned(), Value::from(name)), ("kind".to_owned(), Value::from(kind))]);
    if !group.is_empty() {
        details.insert("group".to_owned(), group.into());
    }
    Answer::json(
        404,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound",
                "message": format!("{resource} \"{name}\" not found"), "details": details, "code": 404}),
    )
}

fn conflict(name: &str, what: &str, wanted: &Value, is: &Value) -> Answer {
    let (wanted, is) = (wanted.as_str().unwrap_or_default(), is.as_str().unwrap_or_default());
    let message = format!(
        "Operation cannot be fulfilled on pods \"{name}\": Precondition failed: {what} in precondition: {wanted}, {what} in \
         object meta: {is}"
    );
    Answer::status(409, "Conflict", &message)
}

/// RFC 7396 on one level, which is all that annotations have.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if let (Value::Null, Some(target)) = (value, target.as_object_mut()) {
            target.remove(key);
        } else {
            target[key.as_str()] = value.clone();
        }
    }
}
