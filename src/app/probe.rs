//! Whether everything answers that the configuration points at: store, directories, mail server. For `check`; it writes
//! nothing, and of people it looks for one. All are asked, whatever the first says.

use secrecy::ExposeSecret as _;

use crate::config::Config;
use crate::mail::Transport;
use crate::sources::ldap::Probe;
use crate::store::{self, Db, Options, migrate};
use crate::tasks::poll;

/// Its name, and what answered or why nothing did.
pub type Answer = (String, Result<Probe, String>);

pub async fn all(config: &Config) -> Vec<Answer> {
    let plain = |reached: String| Probe { reached, searches: Vec::new() };
    let mut all = vec![("store".to_owned(), store(config).await.map(plain))];
    all.extend(poll::probe(config).await);
    if let Some(host) = &config.mail.host {
        all.push(("mail".to_owned(), mail(config).await.map(|()| plain(format!("{host}:{}", config.mail.port)))));
    }
    all
}

/// An embedded database that does not exist yet is fine where its folder does: it is made by the first start.
async fn store(config: &Config) -> Result<String, String> {
    let options = Options::new(config.store.url.expose_secret());
    let shown = config.store.shown.clone();
    if let Some(file) = options.file() {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if !folder.is_none_or(std::path::Path::is_dir) {
            return Err(format!("{shown}: its folder does not exist"));
        }
        return match store::look_at(&file) {
            Ok(()) => Ok(shown),
            Err(error) => Err(format!("{shown}: {error}")),
        };
    }
    let db = Db::open(&options).await.map_err(|error| format!("{shown}: {error}"))?;
    let current = migrate::is_current(&db).await;
    db.close().await;
    match current {
        Ok(true) => Ok(shown),
        Ok(false) => Ok(format!("{shown} (migrations are due: the next start applies them)")),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

async fn mail(config: &Config) -> Result<(), String> {
    let transport = Transport::new(&config.mail).map_err(|error| error.to_string())?;
    transport.open().await?.close().await;
    Ok(())
}
