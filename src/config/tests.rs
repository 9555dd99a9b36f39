//! The configuration as a whole: the shipped files are right and complete, and all faults are told at once.

use std::collections::BTreeSet;

use super::read::Document;
use super::*;

const DEFAULT: &str = include_str!("../../config/default.toml");
const EXAMPLE: &str = include_str!("../../config/example.toml");

/// Keys that exclude others of the same section and stand in the prose of default.toml.
const ALTERNATIVES: &[&str] = &["sources.hq.urls", "sources.rt.connector_file", "sources.idp.company"];

/// default.toml with every commented key in force.
fn everything() -> String {
    let plain = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned();
    DEFAULT.lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn keys_of(refused: &Refused) -> Vec<&str> {
    refused.0.iter().map(|fault| fault.key.as_str()).collect()
}

#[test]
fn the_shipped_files_are_right_and_the_defaults_are_the_defaults() {
    let shown = |config: &Config| format!("{:?} {:?} {:?}", config.server, config.log, config.mail);
    let config = Config::parse(DEFAULT).unwrap();
    assert_eq!(shown(&config), shown(&Config::parse("").unwrap()));
    assert_eq!(config.profiles, Profiles::default());
    assert_eq!(Config::parse(EXAMPLE).unwrap().policies().count(), 4, "three and the operator");
}

#[test]
fn default_toml_explains_every_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    for secret in ["store.password", "mail.password", "hq.password", "rt.secret"] {
        write(secret, "s3cret\n");
    }
    write("pbx.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    write("licences.toml", licences::BUILT_IN);
    let file = write("default.toml", &everything());
    let document = Document::load(&[file], []);
    drop(Config::read(&document.root()));
    document.done().unwrap();

    let asked = document.asked();
    let known = |key: &String| document.has(key) || document.has(&format!("{key}_file"));
    let silent: BTreeSet<&String> =
        asked.iter().filter(|key| !known(key) && !ALTERNATIVES.contains(&key.as_str())).collect();
    // Every source has the keys of all sources: they are explained once, at `idp`.
    let common = |key: &str| {
        let parts: Vec<&str> = key.splitn(3, '.').collect();
        let at_idp = parts.get(2).map(|key| format!("sources.idp.{key}")).unwrap_or_default();
        parts[0] == "sources" && (document.has(&at_idp) || ALTERNATIVES.contains(&at_idp.as_str()))
    };
    let silent: Vec<&&String> = silent.iter().filter(|key| !common(key)).collect();
    assert!(silent.is_empty(), "not in default.toml: {silent:?}");
}

#[test]
fn every_fault_is_told_at_once_with_key_value_and_what_is_allowed() {
    let text = r#"
        colour = "red"
        [server]
        listen = "here"
        listn = "127.0.0.1:1"
        drain = "soon"
        [server.limits]
        body = 5
        [store]
        url = "mysql://u:hunter2@h/d"
        [sources.idp]
        kind = "skim"
        priority = "high"
        match = ["login", "shoe_size"]
        pasword = "hunter2"
        [sources.hq]
        kind = "ldap"
        realm = "agent"
        url = "ldaps://h"
        base = "dc=x"
        schedule = "every day"
    "#;
    let refused = Config::parse(text).unwrap_err();
    let keys: BTreeSet<&str> = keys_of(&refused).into_iter().collect();
    let expected = BTreeSet::from([
        "colour",
        "server.listen",
        "server.listn",
        "server.drain",
        "server.limits.body",
        "store.url",
        "sources.idp.kind",
        "sources.idp.priority",
        "sources.idp.match",
        "sources.idp.pasword",
        "sources.hq.schedule",
    ]);
    assert_eq!(keys, expected);
    let told = refused.to_string();
    for part in [
        "has 11 faults",
        "server.listn: is unknown (did you mean listen?)",
        "1024 to 67108864",
        "scim, ldap, crm",
        "soon",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn s34_a_secret_file_that_everybody_can_read_is_refused_and_never_shown() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("m.toml"), folder.path().join("pw"));
    std::fs::write(&file, "[mail]\nusername = 'u'\npassword_file = 'pw'").unwrap();
    std::fs::write(&secret, "hunter2\n").unwrap();
    let load = |variables: Vec<(String, String)>| Reading::load(std::slice::from_ref(&file), variables).done();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = load(vec![]).unwrap_err().to_string();
    assert!(told.contains("mail.password_file") && told.contains("644") && !told.contains("hunter2"), "{told}");

    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o640)).unwrap();
    let config = load(vec![]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_environment_wins_and_keeps_secrets_as_they_are() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("MUSTERD__SERVER__LISTEN", "127.0.0.1:9"),
        ("MUSTERD__SERVER__LIMITS__BODY", "2048"),
        ("MUSTERD__MAIL__USERNAME", "u"),
        ("MUSTERD__MAIL__PASSWORD", "00123"),
        ("MUSTERD__SOURCES__IDP__KIND", "scim"),
        ("MUSTERD__SOURCES__IDP__REALM", "agent"),
        ("MUSTERD__SOURCES__IDP__MATCH", "login, email"),
        ("MUSTERD_OTHER", "x"),
    ];
    let variables = variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let file = folder.path().join("m.toml");
    std::fs::write(&file, "[server]\nlisten = '127.0.0.1:8'").unwrap();
    let config = Reading::load(&[file], variables).done().unwrap();
    assert_eq!((config.server.listen.port(), config.server.limits.body), (9, 2048));
    assert_eq!(config.mail.password.unwrap().expose_secret(), "00123");
    assert_eq!(config.sources["idp"].policy.match_rules.len(), 2);
}

#[test]
fn a_credential_of_the_service_manager_is_found_by_its_key() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mail.password"), "from the manager\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o440);
    std::fs::set_permissions(folder.path().join("mail.password"), mode).unwrap();
    let variables = [
        ("CREDENTIALS_DIRECTORY".to_owned(), folder.path().display().to_string()),
        ("MUSTERD__MAIL__USERNAME".to_owned(), "u".to_owned()),
    ];
    let config = Reading::load(&[], variables).done().unwrap();
    assert_eq!(config.mail.password.unwrap().expose_secret(), "from the manager");
}

#[test]
fn a9_the_database_is_one_url() {
    let config = Config::parse("[store]\nurl = 'postgres://u@h:5433/d'\npassword = 'hunter2'").unwrap();
    assert_eq!(config.store.shown, "postgres://u:***@h:5433/d");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(Config::parse("").unwrap().store.shown, "sqlite:/var/lib/musterd/musterd.db");
}
