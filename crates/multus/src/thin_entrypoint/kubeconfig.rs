//! The kubeconfig for the plugin on the host: the pod's own token and authority (upstream §7.3).

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::files;
use super::options::Options;

/// Writes it where what it is made of has changed, or it is not as it was written. Returns whether it was.
pub(crate) fn follow(options: &Options) -> Result<bool, String> {
    let path = options.kubeconfig_path();
    let text = text(options)?;
    if let Some(dir) = path.parent() {
        create(dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
    }
    files::replace(&path, text.as_bytes(), 0o600)
        .map_err(|error| format!("cannot write kubeconfig {}: {error}", path.display()))
}

/// Makes a directory that others may read.
pub(crate) fn create(dir: &std::path::Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

fn text(options: &Options) -> Result<String, String> {
    let read = |name: &str| {
        let path = options.service_account.join(name);
        fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let token =
        String::from_utf8(read("token")?).map_err(|_| "the service account's token is no text".to_owned())?;
    let token = token.trim();
    if token.is_empty() {
        return Err("the service account's token is empty".to_owned());
    }
    let authority = read("ca.crt")?;
    let trust = if options.skip_tls_verify {
        "insecure-skip-tls-verify: true".to_owned()
    } else {
        format!("certificate-authority-data: {}", STANDARD.encode(authority))
    };
    Ok(format!(
        "# Kubeconfig file for Multus CNI plugin.\n\
         apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: local\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   {trust}\n\
         users:\n\
         - name: multus\n\
         \x20 user:\n\
         \x20   token: {token}\n\
         contexts:\n\
         - name: multus-context\n\
         \x20 context:\n\
         \x20   cluster: local\n\
         \x20   user: multus\n\
         current-context: multus-context\n",
        server = options.server.as_deref().unwrap_or_default(),
        // A JSON string is a YAML string.
        token = serde_json::Value::from(token),
    ))
}
