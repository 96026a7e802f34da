//! A client certificate of this node's own, in place of a token that is the same on all nodes.
//!
//! It is asked for by a CertificateSigningRequest, with the bootstrap kubeconfig's credentials at first and with the certificate
//! itself later, and lies in a directory under kubelet's names: dated files, and a link `multus-client-current.pem`.

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use hyper::Method;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use crate::client::{Client, Request, Source};
use crate::kubeconfig::{Access, ClientCertificate, Credentials};
use crate::{Error, runtime};

pub(crate) const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// Who signs.
pub(crate) const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// The organisation, which is the user's group, and how the user's name begins.
pub(crate) const IDENTITY: &str = "system:multus";
/// What the certificate is for.
pub(crate) const USAGES: [&str; 2] = ["digital signature", "client auth"];
const CURRENT: &str = "multus-client-current.pem";
const UPDATED: &str = "multus-client-updated.pem";
const PREFIX: &str = "multus-client-";
/// How often a request that is not signed yet is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whose certificate, from where, for how long.
#[derive(Debug, Clone)]
pub struct NodeCertificate {
    /// The node's name; the subject is `system:multus:<node>`.
    pub node: String,
    /// The directory that holds it.
    pub dir: PathBuf,
    /// The kubeconfig that may ask for it while there is none.
    pub bootstrap: PathBuf,
    /// How long it is to last.
    pub duration: Duration,
}

/// A certificate on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

impl Validity {
    /// When to ask for the next one: at a random point from 70 to 90 % of its life, so that nodes do not ask all at once.
    #[must_use]
    pub fn renew_at(&self) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        let part = RandomState::new().hash_one(0_u8) % 201;
        self.not_before + life.mul_f64(0.7 + part as f64 / 1000.0)
    }

    /// Whether it is valid at `time`.
    #[must_use]
    pub fn covers(&self, time: SystemTime) -> bool {
        (self.not_before..self.not_after).contains(&time)
    }
}

impl NodeCertificate {
    /// The file that always is the newest certificate, with its key.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(CURRENT)
    }

    /// The certificate on disk; nothing when there is none, or none that can be read.
    #[must_use]
    pub fn on_disk(&self) -> Option<Validity> {
        validity(&fs::read(self.path()).ok()?)
    }

    /// Asks for a certificate, waits until it is signed, and puts it into place.
    ///
    /// # Errors
    /// When the API server cannot be asked, the request is denied, or nobody signs it before `deadline`.
    pub fn obtain(&self, deadline: Instant) -> Result<Validity, Error> {
        let bootstrap = Access::read(&self.bootstrap)?;
        let key = KeyPair::generate().map_err(|error| Error::config("make a private key", error))?;
        let request = self.signing_request(&key)?;
        let runtime = runtime()?;
        let own = self.own_access(&bootstrap);
        let certificate = match own {
            Some(own) => match runtime.block_on(signed(own, &request, deadline)) {
                // A certificate that is not accepted any more, or a server with a new authority: start over.
                Err(Error::Denied { .. } | Error::Config { .. }) => {
                    runtime.block_on(signed(bootstrap, &request, deadline))?
                }
                other => other?,
            },
            None => runtime.block_on(signed(bootstrap, &request, deadline))?,
        };
        let validity = validity(&certificate).ok_or_else(|| {
            Error::unavailable("read the signed certificate", "it is no X.509 certificate in PEM")
        })?;
        let mut pem = certificate;
        if !pem.ends_with(b"\n") {
            pem.push(b'\n');
        }
        pem.extend_from_slice(key.serialize_pem().as_bytes());
        self.store(&pem).map_err(|error| {
            Error::config(format!("store a certificate in {}", self.dir.display()), error)
        })?;
        Ok(validity)
    }

    /// The way to the API server that the certificate on disk opens, while it is valid.
    #[must_use]
    pub fn own_access(&self, bootstrap: &Access) -> Option<Access> {
        let pem = fs::read(self.path()).ok()?;
        if !validity(&pem)?.covers(SystemTime::now()) {
            return None;
        }
        let certificate = Some(ClientCertificate { certificate: pem.clone(), key: pem });
        Some(Access { credentials: Credentials::None, certificate, ..bootstrap.clone() })
    }

    pub(crate) fn signing_request(&self, key: &KeyPair) -> Result<Vec<u8>, Error> {
        let failed = |error| Error::config("make a certificate signing request", error);
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, IDENTITY);
        name.push(DnType::CommonName, format!("{IDENTITY}:{}", self.node));
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.distinguished_name = name;
        let pem = params.serialize_request(key).and_then(|request| request.pem()).map_err(failed)?;
        let body = json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"generateName": "csr-"},
            "spec": {
                "request": base64::engine::general_purpose::STANDARD.encode(pem),
                "signerName": SIGNER,
                "usages": USAGES,
                "expirationSeconds": self.duration.as_secs(),
            },
        });
        Ok(body.to_string().into_bytes())
    }

    fn store(&self, pem: &[u8]) -> io::Result<()> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S").to_string();
        let name = format!("{PREFIX}{now}.pem");
        let path = self.dir.join(&name);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(pem)?;
        file.sync_all()?;
        // A link is made beside and renamed over: whoever reads `current` at this moment finds one or the other.
        let updated = self.dir.join(UPDATED);
        match fs::remove_file(&updated) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(&name, &updated)?;
        let before = fs::read_link(self.path()).ok();
        fs::rename(&updated, self.path())?;
        remove_others(&self.dir, &[Some(Path::new(&name)), before.as_deref()]);
        Ok(())
    }
}

/// Removes dated certificates but those to keep. One that stays does no harm, so errors are passed over.
fn remove_others(dir: &Path, keep: &[Option<&Path>]) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let dated =
            text.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if dated && !keep.iter().flatten().any(|kept| kept.file_name() == Some(&name)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[derive(Deserialize)]
struct SigningRequest {
    metadata: crate::wire::Metadata,
    #[serde(default)]
    status: Option<SigningStatus>,
}

#[derive(Default, Deserialize)]
struct SigningStatus {
    #[serde(default)]
    certificate: Option<String>,
    #[serde(default)]
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: Option<String>,
}

async fn signed(access: Access, body: &[u8], deadline: Instant) -> Result<Vec<u8>, Error> {
    let client = Client::new(Source::Fixed(access))?;
    let attempt = "create a CertificateSigningRequest";
    let create = Request::send(attempt.to_owned(), Method::POST, REQUESTS.to_owned(), body.to_vec());
    let created: SigningRequest = client.call_for(&create, deadline).await?;
    let name = created.metadata.name.unwrap_or_default();
    let segment = crate::client::segment(&name).map_err(|reason| Error::unavailable(attempt, reason))?;
    let attempt = format!("wait for CertificateSigningRequest {name} to be signed");
    let get = Request::get(attempt.clone(), format!("{REQUESTS}/{segment}"));
    loop {
        let found: SigningRequest = client.call_for(&get, deadline).await?;
        let status = found.status.unwrap_or_default();
        for condition in status.conditions.unwrap_or_default() {
            if matches!(condition.kind.as_str(), "Denied" | "Failed") {
                let message = condition.message.unwrap_or_default();
                let reason = format!("it is {}: {message}", condition.kind.to_ascii_lowercase());
                return Err(Error::Refused { attempt, code: 403, message: reason });
            }
        }
        if let Some(certificate) = status.certificate.filter(|text| !text.is_empty()) {
            return base64::engine::general_purpose::STANDARD
                .decode(certificate)
                .map_err(|error| Error::unavailable(&attempt, format!("not base64: {error}")));
        }
        if Instant::now() + LOOK_EVERY >= deadline {
            let reason =
                format!("certificate was not signed; approve it with `kubectl certificate approve {name}`");
            return Err(Error::unavailable(&attempt, reason));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn validity(pem: &[u8]) -> Option<Validity> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    let time = |time: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    };
    let validity = certificate.validity();
    Some(Validity { not_before: time(validity.not_before)?, not_after: time(validity.not_after)? })
}

#[cfg(test)]
mod tests;
