//! The cluster's certificates and kubeconfigs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

/// The folder with everything that is secret, below the control plane's root so that it finds it as `/etc/kubernetes`.
pub(super) struct Pki {
    dir: PathBuf,
    server: String,
    authority: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// Makes an authority, what the API server serves with, and the key of service accounts.
    pub(super) fn new(dir: &Path, server: &str, names: &[&str]) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let key = KeyPair::generate().context("generate the authority's key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let authority = params.self_signed(&key).context("make the authority")?.pem();
        let pki = Self {
            dir: dir.to_owned(),
            server: server.to_owned(),
            authority,
            issuer: Issuer::new(params, key),
        };
        pki.write("ca.crt", &pki.authority)?;
        pki.write("ca.key", &pki.issuer.key().serialize_pem())?;

        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).context("name the API server")?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, key) = pki.sign(params, "kube-apiserver", None)?;
        pki.write("apiserver.crt", &certificate)?;
        pki.write("apiserver.key", &key)?;

        let accounts = KeyPair::generate().context("generate the key of service accounts")?;
        pki.write("accounts.key", &accounts.serialize_pem())?;
        pki.write("accounts.pub", &accounts.public_key_pem())?;
        Ok(pki)
    }

    /// A kubeconfig for a user in a group, by a certificate.
    pub(super) fn kubeconfig(&self, user: &str, group: Option<&str>) -> Result<String> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = self.sign(params, user, group)?;
        let text = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "testbed",
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
            "clusters": [{"name": "testbed", "cluster": {
                "server": self.server,
                "certificate-authority-data": text(&self.authority),
            }}],
            "users": [{"name": "testbed", "user": {
                "client-certificate-data": text(&certificate),
                "client-key-data": text(&key),
            }}],
        });
        Ok(format!("{config:#}\n"))
    }

    pub(super) fn write(&self, file: &str, content: &str) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        user: &str,
        group: Option<&str>,
    ) -> Result<(String, String)> {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().with_context(|| format!("generate the key of {user}"))?;
        let certificate = params.signed_by(&key, &self.issuer).with_context(|| format!("sign {user}"))?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}
