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

const TOLD: &str = "";

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
