//! SIGHUP: everything is read and checked again, then swapped as a whole; with any fault the old configuration stays.
//! Listeners, the store and the control socket keep their places until the next start.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;

use super::{Error, Origin, notify};
use crate::config::{Config, server};
use crate::http::state::App;
use crate::telemetry;

/// How long a request may still go by what it began with, before values that are to be unique are looked up for good.
const OLD_REQUESTS: Duration = Duration::from_millis(200);

pub async fn reload(app: &App, origin: &Origin, certificate: &watch::Sender<Option<Arc<ServerConfig>>>) {
    notify::reloading();
    let taken = origin.load().map_err(Error::from).and_then(|config| Ok((tls(&config)?, config)));
    match taken {
        Ok((tls, config)) => {
            for name in unmoved(&app.config(), &config) {
                tracing::warn!(key = name, "this change is taken at the next start");
            }
            certificate.send_replace(tls);
            let ready = app.ready(config);
            let prepared = app.prepare(&ready).await;
            app.swap(ready);
            // Requests that began before the swap did not know of it.
            tokio::time::sleep(OLD_REQUESTS).await;
            if let Err(error) = prepared.and(app.keep_uniques().await) {
                tracing::error!(%error, "values that are to be unique could not be entered");
            }
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
    let told = |(key, reason): (&str, String)| Error::Tls(format!("server.tls.{key}: {reason}"));
    usable(files).map(|server| Some(Arc::new(server))).map_err(|mut wrong| told(wrong.swap_remove(0)))
}

/// Every file that cannot be used, by its key, and why.
pub fn usable(files: &server::Tls) -> Result<ServerConfig, Vec<(&'static str, String)>> {
    let chain = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain
        .map_err(|error| error.to_string())
        .and_then(|chain| if chain.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(chain) });
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| error.to_string());
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => {
            let wrong = [("certificate", chain.err()), ("key", key.err())];
            return Err(wrong.into_iter().filter_map(|(key, reason)| Some((key, reason?))).collect());
        }
    };
    let built = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let mut server = built.map_err(|error| vec![("certificate", error.to_string())])?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(server)
}
