//! The kubeconfig for the plugin on the host: the pod's own token and authority.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use node_config::{Error, Setting, file};

use super::options::Options;

const MODE: u32 = 0o600;

/// Writes it where what it is made of has changed, or it is not as it was written. Returns whether it was.
pub(crate) fn follow(options: &Options) -> Result<bool, Error> {
    let path = options.kubeconfig_path();
    let text = text(options)?;
    let failed = |source| Error::Write { path: path.clone(), setting: Setting::ConfDir, source };
    file::create_dir(&options.own_dir()).map_err(failed)?;
    file::replace(&path, text.as_bytes(), MODE).map_err(failed)
}

/// Whether it is there, and of the token that holds now.
pub(crate) fn is_current(options: &Options) -> Result<bool, Error> {
    Ok(file::holds(&options.kubeconfig_path(), text(options)?.as_bytes(), MODE))
}

fn text(options: &Options) -> Result<String, Error> {
    let read = |name: &str| {
        let path = options.service_account.join(name);
        fs::read(&path).map_err(|source| Error::Io { attempt: format!("read {}", path.display()), source })
    };
    let token = String::from_utf8(read("token")?)
        .map_err(|_| Error::Unusable("the service account's token is no text".to_owned()))?;
    let token = token.trim();
    if token.is_empty() {
        return Err(Error::Unusable("the service account's token is empty".to_owned()));
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
