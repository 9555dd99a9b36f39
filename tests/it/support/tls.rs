//! A certificate authority of a test's own, and a server certificate for the loopback names that it signed.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// PEM files in the folder they were written to.
pub struct Certificate {
    /// To be trusted by clients.
    pub ca: PathBuf,
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Writes `ca.pem`, `certificate.pem` and `key.pem`, good for `localhost` and `127.0.0.1`.
pub fn write(folder: &Path) -> Certificate {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "musterd test authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(names).expect("two names").signed_by(&key, &authority).expect("a certificate");
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a PEM file is written");
        path
    };
    Certificate {
        ca: put("ca.pem", authority.as_ref().pem()),
        chain: put("certificate.pem", server.pem()),
        key: put("key.pem", key.serialize_pem()),
    }
}
