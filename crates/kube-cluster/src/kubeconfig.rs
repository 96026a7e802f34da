//! Which API server, and with which credentials: a kubeconfig, or the pod that this process runs in.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;

use crate::Error;

/// A kubeconfig of this size was not written for us; `certificate-authority-data` of a large bundle is some 300 KiB.
const LARGEST: u64 = 4 << 20;
/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How to reach an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `https://host:port/prefix`; the scheme may be missing.
    pub server: String,
    /// Certificate authorities in PEM. Without any, the machine's own are used.
    pub authority: Option<Vec<u8>>,
    /// Accepts any certificate.
    pub insecure: bool,
    /// The name to expect in the certificate, where it is not the server's host.
    pub server_name: Option<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// A client certificate, besides or instead of `credentials`.
    pub certificate: Option<ClientCertificate>,
}

/// What goes into the `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// No header.
    None,
    /// A bearer token.
    Token(String),
    /// A file with one; read for each request, since the kubelet replaces it.
    TokenFile(PathBuf),
    /// User and password.
    Basic(String, String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Logs are read by more people than kubeconfigs are.
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(…)",
            Self::TokenFile(_) => "TokenFile(…)",
            Self::Basic(..) => "Basic(…)",
        })
    }
}

/// A client certificate with its key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate chain.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientCertificate(…)")
    }
}

impl Access {
    /// Reads the kubeconfig at `path`. Relative file names in it are relative to its directory.
    ///
    /// # Errors
    /// When it, or a file that it names, cannot be read or used.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let attempt = || format!("read kubeconfig {}", path.display());
        let size = fs::metadata(path).map_err(|error| Error::config(attempt(), error))?.len();
        if size > LARGEST {
            return Err(Error::config(attempt(), format!("{size} bytes are too many for a kubeconfig")));
        }
        let bytes = fs::read(path).map_err(|error| Error::config(attempt(), error))?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        Self::parse(&bytes, dir).map_err(|error| match error {
            Error::Config { attempt: part, reason } => {
                Error::Config { attempt: attempt(), reason: format!("{part}: {reason}") }
            }
            other => other,
        })
    }

    /// Reads a kubeconfig's bytes; files that it names are looked for relative to `dir`.
    ///
    /// # Errors
    /// As [`Access::read`].
    pub fn parse(bytes: &[u8], dir: &Path) -> Result<Self, Error> {
        let file: File =
            serde_saphyr::from_slice(bytes).map_err(|error| Error::config("parse YAML", one_line(&error)))?;
        let context = file.context()?;
        let cluster = named(file.clusters, "clusters", &context.cluster)?;
        let user = match context.user.as_str() {
            "" => User::default(),
            name => named(file.users, "users", name)?,
        };
        if cluster.server.is_empty() {
            return Err(Error::config(format!("cluster {:?}", context.cluster), "has no server"));
        }
        Ok(Self {
            authority: content(cluster.authority_data, cluster.authority, dir, "certificate-authority")?,
            server: cluster.server,
            insecure: cluster.insecure,
            server_name: Some(cluster.server_name).filter(|name| !name.is_empty()),
            certificate: user.certificate(dir)?,
            credentials: user.credentials(dir, &context.user)?,
        })
    }

    /// The service account of the pod that this process runs in; nothing when it runs in none.
    ///
    /// # Errors
    /// When the environment names an API server and the service account's files are not there.
    pub fn in_cluster(environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        Self::service_account(environment, Path::new(SERVICE_ACCOUNT))
    }

    fn service_account(
        environment: &dyn Fn(&str) -> Option<String>,
        dir: &Path,
    ) -> Result<Option<Self>, Error> {
        let set = |name| environment(name).filter(|value| !value.is_empty());
        let (Some(host), Some(port)) = (set("KUBERNETES_SERVICE_HOST"), set("KUBERNETES_SERVICE_PORT"))
        else {
            return Ok(None);
        };
        let token = dir.join("token");
        // A host whose environment has these variables but no service account is no pod (upstream: rest.ErrNotInCluster).
        if !token.exists() {
            return Ok(None);
        }
        let authority = dir.join("ca.crt");
        let authority = fs::read(&authority)
            .map_err(|error| Error::config(format!("read {}", authority.display()), error))?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Ok(Some(Self {
            server: format!("https://{host}:{port}"),
            authority: Some(authority),
            insecure: false,
            server_name: None,
            credentials: Credentials::TokenFile(token),
            certificate: None,
        }))
    }
}

/// A kubeconfig as far as it matters here. Unknown keys are ignored, null is the same as absent.
#[derive(Default, Deserialize)]
struct File {
    clusters: Option<Vec<Named<Cluster>>>,
    users: Option<Vec<Named<User>>>,
    contexts: Option<Vec<Named<Context>>>,
    #[serde(rename = "current-context")]
    current: Option<String>,
}

impl File {
    fn context(&self) -> Result<Context, Error> {
        let contexts = self.contexts.as_deref().unwrap_or_default();
        let current = self.current.as_deref().unwrap_or_default();
        let found = match (current, contexts) {
            // client-go needs a current context; one that is alone leaves no doubt.
            ("", [alone]) => Some(alone),
            _ => contexts.iter().find(|context| context.name == current),
        };
        found
            .and_then(|named| named.item().cloned())
            .ok_or_else(|| Error::config("current-context", format!("there is no context {current:?}")))
    }
}

#[derive(Deserialize)]
struct Named<T> {
    #[serde(default)]
    name: String,
    // One of them is there, by the list that it stands in.
    #[serde(default = "none")]
    cluster: Option<T>,
    #[serde(default = "none")]
    user: Option<T>,
    #[serde(default = "none")]
    context: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T> Named<T> {
    fn item(&self) -> Option<&T> {
        self.cluster.as_ref().or(self.user.as_ref()).or(self.context.as_ref())
    }

    fn into_item(self) -> Option<T> {
        self.cluster.or(self.user).or(self.context)
    }
}

fn named<T>(list: Option<Vec<Named<T>>>, what: &str, name: &str) -> Result<T, Error> {
    list.unwrap_or_default()
        .into_iter()
        .find(|item| item.name == name)
        .and_then(Named::into_item)
        .ok_or_else(|| Error::config(what, format!("there is no {name:?}")))
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cluster {
    server: String,
    #[serde(rename = "certificate-authority-data")]
    authority_data: Option<String>,
    #[serde(rename = "certificate-authority")]
    authority: Option<String>,
    #[serde(rename = "insecure-skip-tls-verify")]
    insecure: bool,
    #[serde(rename = "tls-server-name")]
    server_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "client-certificate")]
    certificate: Option<String>,
    #[serde(rename = "client-certificate-data")]
    certificate_data: Option<String>,
    #[serde(rename = "client-key")]
    key: Option<String>,
    #[serde(rename = "client-key-data")]
    key_data: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    #[serde(rename = "auth-provider")]
    auth_provider: Option<serde::de::IgnoredAny>,
}

impl User {
    fn credentials(self, dir: &Path, name: &str) -> Result<Credentials, Error> {
        let set = |value: Option<String>| value.filter(|value| !value.is_empty());
        // client-go's order: the file wins, since the token beside it may be an old one.
        if let Some(file) = set(self.token_file) {
            return Ok(Credentials::TokenFile(dir.join(file)));
        }
        if let Some(token) = set(self.token) {
            return Ok(Credentials::Token(token));
        }
        if let Some(user) = set(self.username) {
            return Ok(Credentials::Basic(user, self.password.unwrap_or_default()));
        }
        let has_certificate = self.certificate.is_some() || self.certificate_data.is_some();
        if !has_certificate && (self.exec.is_some() || self.auth_provider.is_some()) {
            return Err(Error::config(
                format!("user {name:?}"),
                "exec and auth-provider credentials are not supported; use token, tokenFile or a client certificate",
            ));
        }
        Ok(Credentials::None)
    }

    fn certificate(&self, dir: &Path) -> Result<Option<ClientCertificate>, Error> {
        let certificate =
            content(self.certificate_data.clone(), self.certificate.clone(), dir, "client-certificate")?;
        let key = content(self.key_data.clone(), self.key.clone(), dir, "client-key")?;
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(ClientCertificate { certificate, key })),
            (Some(_), None) => Err(Error::config("client-key", "missing beside client-certificate")),
            (None, Some(_)) => Err(Error::config("client-certificate", "missing beside client-key")),
        }
    }
}

/// What `<key>-data` holds, else what the file under `<key>` holds.
fn content(
    data: Option<String>,
    file: Option<String>,
    dir: &Path,
    key: &str,
) -> Result<Option<Vec<u8>>, Error> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let packed: String = data.split_ascii_whitespace().collect();
        return base64::engine::general_purpose::STANDARD
            .decode(packed)
            .map(Some)
            .map_err(|error| Error::config(format!("{key}-data"), format!("not base64: {error}")));
    }
    let Some(file) = file.filter(|file| !file.is_empty()) else { return Ok(None) };
    let path = dir.join(file);
    fs::read(&path).map(Some).map_err(|error| Error::config(format!("{key} {}", path.display()), error))
}

/// YAML errors show the offending lines, which here may hold a token; only the first line, which says what is wrong, is kept.
fn one_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
}

#[cfg(test)]
mod tests;
