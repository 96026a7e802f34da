//! Which CertificateSigningRequests are approved: those by which a node's Multus asks for its own client certificate
//! ([`certificate`](crate::certificate)), and no others.
//!
//! Whoever holds such a certificate is `system:multus:<node>` for the API server. So what the request asks for has to follow from
//! who asks, which the API server itself wrote down: the node's kubelet credentials at first, the certificate itself later. A request
//! for another node, other groups, another use or another time is denied; one that asks for no name of Multus is left to others.
//!
//! Start reading at [`SigningRequest::judge`], which is pure; [`Api::settle`](crate::Api::settle) does what it says.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use plan::PlanEvent;
use serde::Deserialize;
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::Error;
use crate::certificate::{IDENTITY, REQUESTS, SIGNER, USAGES};
use crate::client::{Client, Request, segment};
use crate::event::{self, About};
use crate::wire::Metadata;

/// Groups that a user who asks may be in: a kubelet's, the certificate's own, and the one of all users.
const GROUPS: [&str; 3] = [KUBELETS, IDENTITY, "system:authenticated"];
const KUBELETS: &str = "system:nodes";
/// The longest life of a certificate: a year.
const LONGEST: i64 = 365 * 24 * 3600;
/// Who approves, in conditions and events.
const APPROVER: &str = "csr-approver";
/// What events on objects without a namespace are stored in.
const EVENTS_IN: &str = "default";

const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
const END: &str = "-----END CERTIFICATE REQUEST-----";

/// A CertificateSigningRequest, as far as it is judged.
#[derive(Debug, Default, Deserialize)]
pub struct SigningRequest {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    request: String,
    signer_name: String,
    usages: Option<Vec<String>>,
    expiration_seconds: Option<i64>,
    username: String,
    groups: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    certificate: Option<String>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type", default)]
    kind: String,
}

/// What is done about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It asks for no name of Multus, or another signer: others decide.
    NotOurs,
    /// It has its certificate, or somebody has decided.
    Settled,
    /// It is what this node's Multus asks for.
    Approve {
        /// The node.
        node: String,
    },
    /// It asks for a name of Multus, and must not have it, for this reason.
    Deny(String),
}

/// The subject that is asked for, and whether more than a subject is.
struct Subject {
    common_names: Vec<String>,
    organizations: Vec<String>,
    /// Parts of the subject that are neither, or cannot be read.
    others: usize,
    /// Extensions: names besides the subject, and uses.
    extensions: bool,
}

impl SigningRequest {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Decides. The checks are upstream's, in its order and its words; then those that it lacks.
    #[must_use]
    pub fn judge(&self) -> Verdict {
        if self.spec.signer_name != SIGNER {
            return Verdict::NotOurs;
        }
        let Some(subject) = subject(&self.spec.request) else { return Verdict::NotOurs };
        if !subject.common_names.iter().any(|name| name.starts_with(IDENTITY)) {
            return Verdict::NotOurs;
        }
        if self.is_settled() {
            return Verdict::Settled;
        }
        match self.node(&subject) {
            Ok(node) => Verdict::Approve { node },
            Err(reason) => Verdict::Deny(reason),
        }
    }

    fn is_settled(&self) -> bool {
        let Some(status) = &self.status else { return false };
        let decided = |condition: &Condition| matches!(condition.kind.as_str(), "Approved" | "Denied");
        status.certificate.as_ref().is_some_and(|text| !text.is_empty())
            || status.conditions.iter().flatten().any(decided)
    }

    /// The node whose Multus asks.
    fn node(&self, subject: &Subject) -> Result<String, String> {
        let (name, spec) = (self.name(), &self.spec);
        let unexpected_user =
            || format!("CSR {name:?} was created by an unexpected user: {:?}", spec.username);
        let (prefix, node) = spec.username.rsplit_once(':').ok_or_else(unexpected_user)?;
        let own_group = match prefix {
            "system:node" => KUBELETS,
            IDENTITY => IDENTITY,
            _ => return Err(unexpected_user()),
        };
        if !is_subdomain(node) {
            return Err(format!("extracted node name {node:?} is not a valid DNS subdomain"));
        }
        let usages = spec.usages.as_deref().unwrap_or_default();
        let both = USAGES.iter().all(|usage| usages.iter().any(|asked| asked == usage));
        if !both || usages.iter().any(|asked| !USAGES.contains(&asked.as_str())) {
            return Err(format!("CSR {name:?} was created with unexpected usages: {usages:?}"));
        }
        let groups = spec.groups.as_deref().unwrap_or_default();
        // Upstream takes a user without groups; a kubelet is one by its group, whatever its name.
        if groups.iter().any(|group| !GROUPS.contains(&group.as_str()))
            || !groups.iter().any(|group| group == own_group)
        {
            return Err(format!("CSR {name:?} was created by a user with unexpected groups: {groups:?}"));
        }
        subject.is(&format!("{IDENTITY}:{node}"))?;
        match spec.expiration_seconds {
            None => Err(format!("CSR {name:?} was created without specifying the expirationSeconds")),
            Some(seconds) if !(1..=LONGEST).contains(&seconds) => {
                Err(format!("CSR {name:?} was created with invalid expirationSeconds value: {seconds}"))
            }
            Some(_) => Ok(node.to_owned()),
        }
    }
}

impl Subject {
    /// Whether nothing but this name is asked for.
    fn is(&self, expected: &str) -> Result<(), String> {
        // Several common names: which of them counts, readers of certificates do not agree on.
        if self.common_names != [expected] {
            let found = self.common_names.join(", ");
            return Err(format!("expected the CSR's commonName to be {expected:?}, but it is {found:?}"));
        }
        if self.organizations != [IDENTITY] {
            return Err(format!(
                "expected the CSR's organization to be {:?}, but it is {:?}",
                [IDENTITY],
                self.organizations
            ));
        }
        if self.others > 0 || self.extensions {
            return Err("expected the CSR to ask for commonName and organization alone, but it asks for more, such as \
                 alternative names"
                .to_owned());
        }
        Ok(())
    }
}

/// What a request in PEM asks for; nothing when it is none. Only one block, without text around it, so that whoever signs cannot read
/// another one than this.
fn subject(request: &str) -> Option<Subject> {
    let pem = STANDARD.decode(request).ok()?;
    let inner = std::str::from_utf8(&pem).ok()?.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    subject_of(&STANDARD.decode(inner.split_ascii_whitespace().collect::<String>()).ok()?)
}

/// The common names that a request in DER asks for; nothing when it is none.
#[must_use]
pub fn common_names(der: &[u8]) -> Option<Vec<String>> {
    subject_of(der).map(|subject| subject.common_names)
}

fn subject_of(der: &[u8]) -> Option<Subject> {
    let (rest, request) = X509CertificationRequest::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let info = &request.certification_request_info;
    let extensions = info.iter_attributes().any(|attribute| match attribute.parsed_attribute() {
        ParsedCriAttribute::ExtensionRequest(asked) => !asked.extensions.is_empty(),
        // A challenge password goes into no certificate.
        ParsedCriAttribute::ChallengePassword(_) => false,
        _ => true,
    });
    Some(Subject { extensions, ..names(&info.subject) })
}

fn names(subject: &X509Name<'_>) -> Subject {
    let mut names =
        Subject { common_names: Vec::new(), organizations: Vec::new(), others: 0, extensions: false };
    for attribute in subject.iter_attributes() {
        let kind = attribute.attr_type();
        let text = attribute.as_str().map(str::to_owned);
        match text {
            Ok(text) if *kind == x509_parser::oid_registry::OID_X509_COMMON_NAME => {
                names.common_names.push(text);
            }
            Ok(text) if *kind == x509_parser::oid_registry::OID_X509_ORGANIZATION_NAME => {
                names.organizations.push(text);
            }
            _ => names.others += 1,
        }
    }
    names
}

/// DNS-1123, as Kubernetes has it for the names of nodes.
fn is_subdomain(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(inner)
            && bytes.last().copied().is_some_and(inner)
            && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Judges the request of this name as it is now, and tells the API server. One that is gone is settled.
///
/// # Errors
/// When the API server does not answer before `deadline`, or we may not.
pub(crate) async fn settle(client: &Client, name: &str, deadline: Instant) -> Result<Verdict, Error> {
    let attempt = format!("settle CertificateSigningRequest {name}");
    let path = segment(name).map_err(|reason| Error::config(&attempt, reason))?;
    let path = format!("{REQUESTS}/{path}");
    loop {
        // As a whole: what is put back must lack nothing that a newer Kubernetes has in it.
        let found: Value = match client.call_for(&Request::get(attempt.clone(), path.clone()), deadline).await
        {
            Ok(found) => found,
            Err(Error::Refused { code: 404, .. }) => return Ok(Verdict::Settled),
            Err(error) => return Err(error),
        };
        let request = SigningRequest::deserialize(&found)
            .map_err(|error| Error::unavailable(&attempt, format!("the answer cannot be read: {error}")))?;
        let verdict = request.judge();
        let (condition, told) = match &verdict {
            Verdict::NotOurs | Verdict::Settled => return Ok(verdict),
            Verdict::Approve { .. } => approved(name),
            Verdict::Deny(reason) => denied(name, reason),
        };
        // Denials too: conditions in the object itself are ignored by the API server.
        let body = with_condition(found, condition).to_string().into_bytes();
        let put = Request::write(attempt.clone(), Method::PUT, format!("{path}/approval"), body);
        match client.call(&put, deadline).await {
            Ok(_) => {
                // The verdict is what counts; who lacks the event finds the same words in the condition.
                let _ = tell(client, &request, &told, deadline).await;
                return Ok(verdict);
            }
            Err(Error::Refused { code: 404, .. }) => return Ok(Verdict::Settled),
            // It was changed meanwhile: perhaps settled, by somebody else.
            Err(Error::Refused { code: 409, .. }) if Instant::now() < deadline => {}
            Err(error) => return Err(error),
        }
    }
}

fn approved(name: &str) -> (Value, PlanEvent) {
    let condition = json!({
        "type": "Approved", "status": "True", "reason": "AutoApproved", "message": format!("Auto-approved CSR {name:?}"),
    });
    (condition, PlanEvent::normal("CSRApproved", format!("CSR {name:?} has been approved by {APPROVER}")))
}

fn denied(name: &str, reason: &str) -> (Value, PlanEvent) {
    let condition = json!({"type": "Denied", "status": "True", "reason": "CSRDenied", "message": reason});
    let message = format!("The CSR {name:?} has been denied by {APPROVER}: {reason}");
    (condition, PlanEvent::warning("CSRDenied", message))
}

fn with_condition(mut request: Value, condition: Value) -> Value {
    match request["status"]["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => request["status"]["conditions"] = json!([condition]),
    }
    request
}

async fn tell(
    client: &Client,
    request: &SigningRequest,
    told: &PlanEvent,
    deadline: Instant,
) -> Result<(), Error> {
    let about = About {
        api_version: "certificates.k8s.io/v1",
        kind: "CertificateSigningRequest",
        namespace: "",
        name: request.name(),
        uid: request.metadata.uid.as_deref().unwrap_or_default(),
    };
    let post = event::post(&about, EVENTS_IN, "cert-approver", told, &event::unique(request.name()))
        .map_err(|reason| Error::config("post an event", reason))?;
    client.call(&post, deadline).await.map(drop)
}

#[cfg(test)]
mod tests;
