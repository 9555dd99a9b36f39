//! Secrets from files: a path of the configuration or a systemd credential. Never in a fault, never in a log.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;

/// Whether values of this key must never be shown.
pub fn sounds_like(key: &str) -> bool {
    let key = key.to_lowercase();
    let plain = key.ends_with("_file") || key.ends_with("_url");
    !plain
        && ["password", "secret", "token", "credential", "passphrase", "apikey", "api_key"]
            .iter()
            .any(|word| key.contains(word))
}

/// The secret of `key` from `file` (its `key_file` setting) or from the systemd credential that bears the key's name.
/// A relative `file` is first looked for among the credentials, then beside the configuration. The error is what is
/// allowed, without the content.
pub fn find(
    key: &str,
    file: Option<&str>,
    credentials: Option<&Path>,
    base: &Path,
) -> Result<Option<SecretString>, String> {
    let credential = |name: &str| credentials.map(|folder| folder.join(name)).filter(|path| path.is_file());
    match file {
        Some(file) => {
            let path = credential(file).unwrap_or_else(|| base.join(file));
            read(&path).map(Some)
        }
        None => credential(key).map(|path| read(&path)).transpose(),
    }
}

/// One trailing line end is not part of the secret.
fn read(path: &Path) -> Result<SecretString, String> {
    let meta = std::fs::metadata(path).map_err(|error| format!("must name a readable file: {error}"))?;
    let mode = meta.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!("must not be open to everybody: its mode is {:03o}, 600 or 640 is right", mode & 0o777));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("must name a readable text file: {error}"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err("must name a file that is not empty".to_owned()) } else { Ok(text.into()) }
}
