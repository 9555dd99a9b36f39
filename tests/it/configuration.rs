//! A bad configuration is told whole: every fault of every section, of connector and catalogue files, and of what shows
//! only when mappings are put to use, in one go, with key, value, what is allowed and the file. Exit code 78.

use std::path::Path;

use crate::support::daemon::cli;

const MAIN: &str = r#"
colour = "red"

[server]
listen = "here"
drain = "soon"
listn = "127.0.0.1:1"
tls = { certificate = "none.pem", key = "m.toml" }

[log]
filter = "inof"

[store]
url = "mysql://u:hunter2@h/d"

[mail]
host = "mx.example.com"
security = "none"
from = "me"
pasword = "hunter2"

[profiles.client]
required = ["userName", "userNam"]

[licences]
catalogue_file = "licences.toml"

[sources.hq]
kind = "ldap"
url = "ldaps://directory.example.com"
base = "dc=example,dc=com"
match = ["number"]
company = "4711"
union = ["mails"]
page_size = 0
guard.percent = 200
users.filter = "(uid="
[sources.hq.users.map]
displayNam = "cn"
"client.note" = "description"
"agent.licenceState" = "employeeType"
title = "{{ open"
userType = "= employeeType | nosuch"
nickName = { from = "l", lookup = "sites" }
meta = "x"
[sources.hq.groups.map]
userName = "cn"

[sources.desk]
kind = "crm"
url = "http://desk.example.com"
zone = "Europe/Prag"
connector_file = "desk.toml"
secret = "hunter2"

[sources.desk2]
kind = "crm"
url = "https://desk2.example.com"
connector_file = "desk.toml"
variables.project = "x"

[sources.rt]
kind = "crm"
url = "https://rt.example.com"
connector = "rt9"

[sources.feed]
kind = "push"
schedule = "@daily"
[sources.feed.map.contact]
numbr = "no"
[sources.feed.map.person]
userName = "login"

[sources.idp]
kind = "skim"
priority = "high"
url = "https://idp.example.com"
shoe_size = 43
"#;

const CONNECTOR: &str = r#"
name = "desk"
title = "Desk"
[auth]
kind = "magic"
[limits]
concurency = 4
[[stream]]
name = "people"
kind = "contact"
request.path = "/people/{{ open"
[stream.map]
displayNam = "name"
vip = { from = "vip", type = "boolean" }
[[stream]]
name = "tickets"
kind = "tiket"
request.path = "/tickets"
[stream.map]
key = "id"
"#;

const CATALOGUE: &str = "tiers = ['A', 'a']\ngrace_days = -1\nfamilies = []\n";

const TOLD: &str = r#"musterd: the configuration has 47 faults
  server.listen = here: must be an address with a port like 127.0.0.1:8070 or [::]:8070 (FOLDER/m.toml)
  server.drain = soon: must be a span of time like 30s, 5m, 12h or 7d from 0ns to 300s (FOLDER/m.toml)
  store.url = mysql://u:***@h/d: must be sqlite:PATH (a file on a local disk) or postgres://USER@HOST[:PORT]/DATABASE (FOLDER/m.toml)
  log.filter = inof: must be directives like info or info,musterd::sources=debug: a level (off, error, warn, info, debug, trace), or a module with its level (FOLDER/m.toml)
  mail.security = none: sends passwords and links in clear: set insecure = true to want that (FOLDER/m.toml)
  mail.from = me: must be an e-mail address like helpdesk@example.com (FOLDER/m.toml)
  family: is missing (FOLDER/licences.toml)
  grace_days = -1: must be a whole number from 0 to 36500 (FOLDER/licences.toml)
  families: is unknown. Allowed here: family, grace_days, tiers, upgrade (FOLDER/licences.toml)
  tiers[1]: `a` must be a name of its own, and not MINI (FOLDER/licences.toml)
  sources.desk.url = http://desk.example.com/: must be https; plain http needs insecure = true (FOLDER/m.toml)
  stream[0].map.key: is missing: the path to the immutable id (FOLDER/desk.toml)
  stream[1].kind = tiket: `tiket` is not one of company, contact, user, group, ticket, device, session, template (FOLDER/desk.toml)
  auth.kind = magic: `magic` is not one of none, header, query, basic, bearer, oauth2, session (FOLDER/desk.toml)
  limits.concurency: is unknown (did you mean concurrency?). Allowed here: body_mib, concurrency, pages, period, requests, timeout (FOLDER/desk.toml)
  sources.desk.zone = Europe/Prag: must be the name of a time zone, e.g. Europe/Prague (FOLDER/m.toml)
  sources.desk2.variables.project: is unknown to this connector: it has no variables (FOLDER/m.toml)
  sources.feed.map.person: `person` is not one of company, contact, user, group, ticket, device, session, template (FOLDER/m.toml)
  sources.feed.schedule = @daily: is for sources that are polled (ldap, crm); this one is not (FOLDER/m.toml)
  sources.hq.page_size = 0: must be a whole number from 1 to 10000 (FOLDER/m.toml)
  sources.hq.guard.percent = 200: must be a whole number from 0 to 100 (FOLDER/m.toml)
  sources.hq.realm: is missing: agent or client, where the people of this source log in (FOLDER/m.toml)
  sources.hq.company = 4711: binds sources of kind scim or push to a company, and no others (FOLDER/m.toml)
  sources.hq.match = number: is a rule for companies, contacts, tickets, devices and sessions; this source brings user, group (FOLDER/m.toml)
  sources.idp.kind = skim: `skim` is not one of scim, ldap, crm, push, operator (FOLDER/m.toml)
  sources.idp.priority = high: must be a whole number from 0 to 1000000 (FOLDER/m.toml)
  sources.idp.shoe_size: is unknown (did you mean page_size?). Allowed here: absence, base, bind_dn, ca_file, company, connector, connector_file, deadline, dns, full_every, groups, guard, insecure, invite, kind, live, map, match, max_entries, mode, page_size, preset, priority, protected, realm, referrals, schedule, scim, secret, secret_file, starttls, sweep_every, tables, timeout, tls_names, union, url, urls, username, users, variables, zone (FOLDER/m.toml)
  sources.rt.connector = rt9: must be one of rt5; for a file of your own give connector_file (FOLDER/m.toml)
  mail.pasword: is unknown (did you mean password?). Allowed here: ca_file, from, host, insecure, language, password, password_file, port, product, security, timeout, username (FOLDER/m.toml)
  server.listn: is unknown (did you mean listen?). Allowed here: control, drain, limits, listen, metrics_listen, public_url, tls (FOLDER/m.toml)
  colour: is unknown. Allowed here: credentials, events, licences, log, mail, profiles, scim, server, sources, store, webhooks (FOLDER/m.toml)
  server.tls.certificate = FOLDER/none.pem: must be a readable PEM file, and the two must fit: I/O error: No such file or directory (os error 2) (FOLDER/m.toml)
  server.tls.key = FOLDER/m.toml: must be a readable PEM file, and the two must fit: no items found (FOLDER/m.toml)
  profiles.client.required = userNam: is not one of these (did you mean userName?): active, addresses, displayName, emails, entitlements, externalId, ims, locale, name.familyName, name.formatted, name.givenName, name.honorificPrefix, name.honorificSuffix, name.middleName, nickName, phoneNumbers, photos, preferredLanguage, profileUrl, roles, timezone, title, userName, userType, x509Certificates (FOLDER/m.toml)
  stream[0].request.path: `{{ open`: unexpected end of input, expected end of variable block (FOLDER/desk.toml)
  stream[0].map.displayNam = name: is no attribute of a contact (did you mean displayName?). Allowed: active, addresses, alias, category, companies, company, created, description, displayName, emails, externalId, gone, key, locale, mergedInto, name.familyName, name.formatted, name.givenName, name.honorificPrefix, name.honorificSuffix, name.middleName, nickName, note, number, phoneNumbers, preferredLanguage, realm, status, timezone, title, when; a field of your own needs `type`, like { from = "..", type = "text" } (FOLDER/desk.toml)
  sources.feed.map.contact.numbr = no: is no attribute of a contact (did you mean number?). Allowed: active, addresses, alias, category, companies, company, created, description, displayName, emails, externalId, gone, key, locale, mergedInto, name.familyName, name.formatted, name.givenName, name.honorificPrefix, name.honorificSuffix, name.middleName, nickName, note, number, phoneNumbers, preferredLanguage, realm, status, timezone, title, when; a field of your own needs `type`, like { from = "..", type = "text" } (FOLDER/m.toml)
  sources.hq.users.filter = (uid=: must be an LDAP filter like (objectClass=person) (FOLDER/m.toml)
  sources.hq.users.map.meta = x: `meta` is not a source's to say (FOLDER/m.toml)
  sources.hq.users.map.nickName = {"from":"l","lookup":"sites"}: `lookup`: no table `sites`; there are no tables (FOLDER/m.toml)
  sources.hq.users.map.title = {{ open: `{{ open`: unexpected end of input, expected end of variable block (FOLDER/m.toml)
  sources.hq.users.map.userType = = employeeType | nosuch: `= employeeType | nosuch`: there is no filter `nosuch`: there are fold, slug, first, split, digits, e164, date, bool, bit, ldap_disabled, lookup, has_dn and those of Jinja (FOLDER/m.toml)
  sources.hq.users.map.agent.licenceState = employeeType: is not a source's to say (FOLDER/m.toml)
  sources.hq.users.map.client.note = description: is no attribute of a user (did you mean agent.note?). Allowed: active, addresses, agent.apiCommunicator, agent.doNotInvoice, agent.extensionNumber, agent.helpdesk, agent.licence, agent.note, agent.pbx, agent.permissionGroup, agent.statutory, agent.twoFactor, alias, client.companyContacts, client.companyTickets, client.description, client.externalComments, client.language, companies, company, contacts, displayName, emails, enterprise.costCenter, enterprise.department, enterprise.division, enterprise.employeeNumber, enterprise.manager.$ref, enterprise.manager.value, enterprise.organization, entitlements, externalId, gone, ims, key, locale, manager, name.familyName, name.formatted, name.givenName, name.honorificPrefix, name.honorificSuffix, name.middleName, nickName, phoneNumbers, photos, preferredLanguage, profileUrl, realm, roles, timezone, title, userName, userType, when, x509Certificates (FOLDER/m.toml)
  sources.hq.users.map.displayNam = cn: is no attribute of a user (did you mean displayName?). Allowed: active, addresses, agent.apiCommunicator, agent.doNotInvoice, agent.extensionNumber, agent.helpdesk, agent.licence, agent.note, agent.pbx, agent.permissionGroup, agent.statutory, agent.twoFactor, alias, client.companyContacts, client.companyTickets, client.description, client.externalComments, client.language, companies, company, contacts, displayName, emails, enterprise.costCenter, enterprise.department, enterprise.division, enterprise.employeeNumber, enterprise.manager.$ref, enterprise.manager.value, enterprise.organization, entitlements, externalId, gone, ims, key, locale, manager, name.familyName, name.formatted, name.givenName, name.honorificPrefix, name.honorificSuffix, name.middleName, nickName, phoneNumbers, photos, preferredLanguage, profileUrl, realm, roles, timezone, title, userName, userType, when, x509Certificates (FOLDER/m.toml)
  sources.hq.groups.map.userName = cn: is no attribute of a group. Allowed: alias, displayName, externalId, gone, key, members, members.login, realm, when (FOLDER/m.toml)
  sources.hq.union = mails: is not one of these (did you mean emails?): addresses, emails, entitlements, ims, phoneNumbers, photos, roles, x509Certificates (FOLDER/m.toml)
"#;

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

#[test]
fn a_bad_configuration_tells_every_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "desk.toml", CONNECTOR);
    write(folder.path(), "licences.toml", CATALOGUE);
    write(folder.path(), "m.toml", MAIN);
    let file = folder.path().join("m.toml");
    for command in ["check", "serve"] {
        let done = cli(&file, &[], &[command]);
        let told = done.stderr.replace(&folder.path().display().to_string(), "FOLDER");
        assert_eq!((done.code, &*done.stdout), (78, ""), "{command}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
        assert_eq!(told, TOLD, "{command}:\n{told}");
    }
    let json = cli(&file, &[], &["check", "--json"]);
    let faults: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((json.code, faults["faults"].as_array().map(Vec::len)), (78, Some(TOLD.lines().count() - 1)));
}

#[test]
fn a_file_that_is_no_toml_hides_none_of_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "twice.toml", "[server]\nlisten = '127.0.0.1:1'\n[server]\ndrain = '1s'\n");
    write(folder.path(), "m.toml", "colour = 1\n[sources.hq.users.map]\ntitel = 'title'\n");
    let both = [folder.path().join("twice.toml"), folder.path().join("m.toml")];
    let more = both[1].display().to_string();
    let done = cli(&both[0], &[], &["-c", &more, "check"]);
    assert_eq!(done.code, 78, "{done:?}");
    for part in ["twice.toml", "duplicate", "colour: is unknown", "sources.hq.kind: is missing"] {
        assert!(done.stderr.contains(part), "{part} in {}", done.stderr);
    }
}

/// What `serve` could not start with is refused by `check` as well: exit code 78, or 1 where it is the store's file.
#[test]
fn what_serve_cannot_start_with_is_not_called_right() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("junk.db"), "no database\n".repeat(20)).unwrap();
    let long = "c".repeat(200);
    for (text, code, told) in [
        ("store.url = 'sqlite::memory:'".to_owned(), 78, "store.url = sqlite::memory:"),
        ("store.url = 'sqlite:a.db?mode=memory'".to_owned(), 78, "store.url"),
        ("store.url = 'sqlite:FOLDER/junk.db'".to_owned(), 1, "no database of SQLite"),
        ("server.listen = '127.0.0.1:8071'\nserver.metrics_listen = '127.0.0.1:8071'".to_owned(), 78, "metrics_listen"),
        (format!("server.control = '{long}'"), 78, "server.control"),
        ("log.filter = 'nonsense='".to_owned(), 78, "log.filter"),
        ("log.filter = 'info,musterd::http=loud'".to_owned(), 78, "log.filter"),
        (
            "sources.a.kind = 'push'\nsources.a.map.contact.displayName = '{{ nosuch(x) }}'".to_owned(),
            78,
            "no function",
        ),
        (
            format!("sources.a.kind = 'push'\nsources.a.map.contact.displayName = '= {}a'", "-".repeat(20_000)),
            78,
            "a rule has at most 2000",
        ),
        (
            "sources.a.kind = 'ldap'\nsources.a.url = 'ldaps://eva:hunter22@d.example.com'".to_owned(),
            78,
            "ldaps://***@d.example.com",
        ),
        ("store.url = 'sqlite:FOLDER/fine.db'\nlog.filter = 'warn,musterd::sources=debug'".to_owned(), 0, "right"),
    ] {
        let file = folder.path().join("m.toml");
        std::fs::write(&file, text.replace("FOLDER", &folder.path().display().to_string())).unwrap();
        let done = cli(&file, &[], &["check"]);
        assert_eq!(done.code, code, "{text}: {done:?}");
        assert!(!format!("{done:?}").contains("hunter22"), "{done:?}");
        assert!(format!("{}{}", done.stdout, done.stderr).contains(told), "{text}: {done:?}");
    }
}
