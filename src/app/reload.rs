//! SIGHUP: everything is read and checked again, then swapped as a whole; with any fault the old configuration stays.
//! Listeners, the store and the control socket keep their places until the next start.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;

use super::{Error, Origin, notify};
use crate::config::Config;
use crate::http::state::App;
use crate::telemetry;

pub fn reload(app: &App, origin: &Origin, certificate: &watch::Sender<Option<Arc<ServerConfig>>>) {
    notify::reloading();
    let taken = origin.load().map_err(Error::from).and_then(|config| Ok((tls(&config)?, config)));
    match taken {
        Ok((tls, config)) => {
            for name in unmoved(&app.config(), &config) {
                tracing::warn!(key = name, "this change is taken at the next start");
            }
            certificate.send_replace(tls);
            app.swap_config(config);
            tracing::info!("the configuration was read again");
            metrics::gauge!(telemetry::RELOAD_OK).set(1);
            notify::ready();
        }
        Err(error) => {
            tracing::error!(%error, "the reload was refused, the old configuration stays");
            metrics::gauge!(telemetry::RELOAD_OK).set(0);
            notify::refused_reload();
        }
    }
}

/// What a reload cannot change.
fn unmoved(old: &Config, new: &Config) -> Vec<&'static str> {
    use secrecy::ExposeSecret as _;
    let (one, other) = (&old.server, &new.server);
    let mut names = Vec::new();
    if one.listen != other.listen {
        names.push("server.listen");
    }
    if one.metrics_listen != other.metrics_listen {
        names.push("server.metrics_listen");
    }
    if one.control != other.control {
        names.push("server.control");
    }
    if one.tls.is_some() != other.tls.is_some() {
        names.push("server.tls");
    }
    if old.store.url.expose_secret() != new.store.url.expose_secret() {
        names.push("store.url");
    }
    names
}

/// Certificate and key of the main listener. HTTP/2 is offered.
pub fn tls(config: &Config) -> Result<Option<Arc<ServerConfig>>, Error> {
    let Some(files) = &config.server.tls else { return Ok(None) };
    let named =
        |file: &std::path::Path, error: &dyn std::fmt::Display| Error::Tls(format!("{}: {error}", file.display()));
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| named(&files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| named(&files.key, &error))?;
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| named(&files.certificate, &error))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Arc::new(server)))
}
