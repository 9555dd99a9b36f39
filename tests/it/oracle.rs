//! Three opinions on filters: the running daemon (its SQL narrows, on both databases), `scim::eval` over the resources as
//! they are shown, and a second implementation in Python (`support::oracle`). Random people and groups, random filters; the
//! sets of ids must be equal. Without network and clock: the numbers are made by a fixed rule.

use std::collections::BTreeSet;

use musterd::model::dialect::Mode;
use musterd::model::kind::{Kind, Realm};
use musterd::scim::registry::Registries;
use musterd::scim::{eval, filter};
use serde_json::{Map, Value, json};

use crate::scim::SOURCES;
use crate::support::daemon::Daemon;
use crate::support::http::Http;
use crate::support::oracle::Oracle;
use crate::support::{both, long};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const PEOPLE: usize = 200;
const GROUPS: usize = 20;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

const FIRST: [&str; 10] = ["Eva", "eva", "Žaneta", "ŘEHOŘ", "Šimon", "Čeněk", "Ďáblice", "Straße", "ΣΟΦΟΣ", "Ann Ž."];
const LAST: [&str; 8] = ["Dvořáková", "DVOŘÁK", "Žižka", "žižková", "Novák", "Nova k", "Müller", "Ŧ"];
const HOSTS: [&str; 3] = ["@telco.cz", "@TELCO.cz", "@home.example"];
const TITLES: [&str; 6] = ["Dr", "dr", "Ing.", "100%", "a_b", "Vedoucí směny"];
const DEPARTMENTS: [&str; 4] = ["Ops", "OPS", "Účtárna", "Provoz 24/7"];

fn person(chance: &mut Chance, number: usize) -> Value {
    let (first, last) = (chance.pick(&FIRST), chance.pick(&LAST));
    let mut user = json!({"userName": format!("{}.{}-{number}{}", first, last, chance.pick(&HOSTS)).replace(' ', "")});
    let mut maybe = |chance: &mut Chance, name: &str, value: Value| {
        if chance.roll(3) > 0 {
            user[name] = value;
        }
    };
    maybe(chance, "displayName", format!("{first} {last}").into());
    maybe(chance, "externalId", format!("{}{number}", if number.is_multiple_of(2) { "E" } else { "e" }).into());
    let (title, active) = (chance.pick(&TITLES), chance.roll(2) == 0);
    maybe(chance, "title", title.into());
    maybe(chance, "active", active.into());
    let name =
        if chance.roll(4) == 0 { json!({"givenName": first}) } else { json!({"familyName": last, "givenName": first}) };
    maybe(chance, "name", name);
    let mut extension = Map::new();
    for (name, value) in [
        ("department", json!(chance.pick(&DEPARTMENTS))),
        ("employeeNumber", json!(format!("{:04}", chance.roll(40)))),
        ("manager", json!({"value": format!("m{}", chance.roll(4))})),
    ] {
        if chance.roll(2) == 0 {
            extension.insert(name.to_owned(), value);
        }
    }
    if !extension.is_empty() {
        maybe(chance, ENTERPRISE, extension.into());
    }
    let mut mails: Vec<Value> = Vec::new();
    for at in 0..chance.roll(4) {
        let mut mail = json!({"value": format!("{}{}", chance.pick(&FIRST).replace(' ', ""), chance.pick(&HOSTS))});
        if chance.roll(4) > 0 {
            mail["type"] = chance.pick(&["work", "home", "Other"]).into();
        }
        if chance.roll(3) == 0 {
            mail["primary"] = (at == 0).into();
        }
        mails.push(mail);
    }
    maybe(chance, "emails", mails.into());
    user
}

/// Fills the daemon; some are known to the other source only, some are gone again.
async fn fill(daemon: &Daemon, chance: &mut Chance) -> Http {
    let client = |source: &str| daemon.http.with_token(daemon.token(&["--source", source, "--scope", "scim"]));
    let (idp, second) = (client("idp"), client("second"));
    let mut ids = Vec::new();
    for number in 0..PEOPLE {
        let whose = if number % 10 == 9 { &second } else { &idp };
        let made = whose.post("/scim/v2/Users", &person(chance, number)).await.expect(201);
        let id = made["id"].as_str().unwrap().to_owned();
        if number % 30 == 5 {
            idp.delete(&format!("/scim/v2/Users/{id}")).await.expect(204);
        } else {
            ids.push(id);
        }
    }
    for number in 0..GROUPS {
        let members: BTreeSet<&String> = (0..chance.roll(6)).map(|_| &ids[chance.roll(ids.len())]).collect();
        let members: Vec<Value> = members.into_iter().map(|id| json!({"value": id})).collect();
        let mut group = json!({"displayName": format!("{} {number}", chance.pick(&LAST)), "members": members});
        if chance.roll(2) == 0 {
            group["externalId"] = format!("G{number}").into();
        }
        idp.post("/scim/v2/Groups", &group).await.expect(201);
    }
    idp
}

/// Everything that the filter finds, page by page.
async fn list(client: &Http, kind: &str, filter: Option<&str>) -> Vec<Value> {
    let mut found = Vec::new();
    loop {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("count", "250").append_pair("startIndex", &(found.len() + 1).to_string());
        if let Some(filter) = filter {
            query.append_pair("filter", filter).append_pair("attributes", "id");
        }
        let answer = client.get(&format!("/scim/v2/{kind}?{}", query.finish())).await;
        assert_eq!(answer.status, 200, "{filter:?}: {}", answer.text);
        let page = answer.json();
        let before = found.len();
        found.extend(page["Resources"].as_array().unwrap().iter().cloned());
        if found.len() as u64 >= page["totalResults"].as_u64().unwrap() || found.len() == before {
            return found;
        }
    }
}

fn id(resource: &Value) -> String {
    resource["id"].as_str().unwrap().to_owned()
}

/// What may be asked: name, where its values stand, whether they are texts, flags or times.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    pointer: &'static str,
    sort: Sort,
}

#[derive(Clone, Copy, PartialEq)]
enum Sort {
    Text,
    Flag,
    Time,
}

const fn text(name: &'static str, pointer: &'static str) -> Field {
    Field { name, pointer, sort: Sort::Text }
}

const USER: [Field; 18] = [
    text("userName", "/userName"),
    text("USERNAME", "/userName"),
    text("displayName", "/displayName"),
    text("externalId", "/externalId"),
    text("id", "/id"),
    text("title", "/title"),
    text("name.familyName", "/name/familyName"),
    text("emails", "/emails/0/value"),
    text("emails.value", "/emails/1/value"),
    text("emails.type", "/emails/0/type"),
    Field { name: "emails.primary", pointer: "", sort: Sort::Flag },
    Field { name: "active", pointer: "", sort: Sort::Flag },
    Field { name: "meta.created", pointer: "/meta/created", sort: Sort::Time },
    Field { name: "meta.lastModified", pointer: "/meta/lastModified", sort: Sort::Time },
    text("groups.value", "/groups/0/value"),
    text(
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
        "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/department",
    ),
    text(
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber",
        "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/employeeNumber",
    ),
    text(
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
        "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/manager/value",
    ),
];
const MAIL: [Field; 3] = [
    text("value", "/emails/0/value"),
    text("type", "/emails/0/type"),
    Field { name: "primary", pointer: "", sort: Sort::Flag },
];
const GROUP: [Field; 6] = [
    text("displayName", "/displayName"),
    text("externalId", "/externalId"),
    text("id", "/id"),
    text("members", "/members/0/value"),
    text("members.value", "/members/1/value"),
    Field { name: "meta.created", pointer: "/meta/created", sort: Sort::Time },
];
const MEMBER: [Field; 1] = [text("value", "/members/0/value")];

/// Random filters whose values are there, nearly there, or not.
struct Asker<'a> {
    chance: &'a mut Chance,
    resources: &'a [Value],
    fields: &'static [Field],
    /// What brackets may follow, and what stands in them.
    list: (&'static str, &'static [Field]),
}

impl Asker<'_> {
    fn filter(&mut self, depth: usize) -> String {
        self.row(self.fields, true, depth)
    }

    fn row(&mut self, fields: &[Field], outside: bool, depth: usize) -> String {
        let mut out = String::new();
        for at in 0..=[0, 0, 1, 1, 2][self.chance.roll(5)] {
            if at > 0 {
                out.push_str(self.chance.pick(&[" and ", " or ", " And ", " OR "]));
            }
            let term = match self.chance.roll(10) {
                0 if depth > 0 => format!("({})", self.row(fields, outside, depth - 1)),
                1 if depth > 0 => format!("not ({})", self.row(fields, outside, depth - 1)),
                2 | 3 if outside => {
                    let (name, inner) = self.list;
                    let chosen = format!("{name}[{}]", self.row(inner, false, depth.saturating_sub(1)));
                    if self.chance.roll(3) == 0 { format!("{chosen}.{}", self.comparison(inner)) } else { chosen }
                }
                _ => self.comparison(fields),
            };
            out.push_str(&term);
        }
        out
    }

    fn comparison(&mut self, fields: &[Field]) -> String {
        let field = fields[self.chance.roll(fields.len())];
        let ops: &[&str] = match field.sort {
            Sort::Flag => &["eq", "ne", "pr", "EQ"],
            Sort::Time => &["eq", "ne", "gt", "ge", "lt", "le"],
            Sort::Text => &["eq", "eq", "eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr", "Co"],
        };
        let op = self.chance.pick(ops);
        if op == "pr" {
            return format!("{} pr", field.name);
        }
        let value = match field.sort {
            Sort::Flag => self.chance.pick(&["true", "false"]).to_owned(),
            _ if matches!(op, "eq" | "ne") && self.chance.roll(15) == 0 => "null".to_owned(),
            Sort::Time => format!("\"{}\"", self.value(field)),
            Sort::Text => format!("\"{}\"", self.bent(field, op)),
        };
        format!("{} {op} {value}", field.name)
    }

    /// A value that somebody has.
    fn value(&mut self, field: Field) -> String {
        for _ in 0..20 {
            let resource = &self.resources[self.chance.roll(self.resources.len())];
            if let Some(text) = resource.pointer(field.pointer).and_then(Value::as_str) {
                return text.to_owned();
            }
        }
        if field.sort == Sort::Time { "2026-01-01T00:00:00+02:00".to_owned() } else { "nobody".to_owned() }
    }

    /// The same, in another case or with white space around it; a piece of it where pieces are asked for.
    fn bent(&mut self, field: Field, op: &str) -> String {
        let mut value: Vec<char> = self.value(field).chars().collect();
        if !matches!(op, "eq" | "ne") {
            let from = if op.eq_ignore_ascii_case("sw") { 0 } else { self.chance.roll(value.len()) };
            let to = if op == "ew" { value.len() } else { (from + 1 + self.chance.roll(5)).min(value.len()) };
            value = value[from..to].to_vec();
        }
        let value: String = value.into_iter().collect();
        match self.chance.roll(8) {
            0 => value.to_uppercase(),
            1 => value.to_lowercase(),
            2 => format!("{value} "),
            3 => format!(" {value}"),
            4 => self.chance.pick(&["", "%", "_", "Ž", "\u{17d}", "z\u{30c}", "ss"]).to_owned(),
            _ => value,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_three_readings_of_a_filter_find_the_same() {
    let all = Registries::embedded().unwrap();
    let registry = all.of_realm(Some(Realm::Agent));
    both(|which| async move {
        let daemon = Daemon::builder(which).config(SOURCES).start().await;
        let mut chance = Chance(7);
        let idp = fill(&daemon, &mut chance).await;
        let mut resources =
            json!({"Users": list(&idp, "Users", None).await, "Groups": list(&idp, "Groups", None).await});
        for user in resources["Users"].as_array_mut().unwrap() {
            // Whoever is not said to be inactive is active, also where it is not shown.
            user.as_object_mut().unwrap().entry("active").or_insert(json!(true));
        }
        let mut oracle = Oracle::start(&resources);
        let mut wrong: Vec<String> = Vec::new();
        let (mut some, mut none) = (0, 0);
        for (kind, of, share) in [("Users", Kind::User, 240), ("Groups", Kind::Group, 60)] {
            let shape = registry.of(of).unwrap();
            let known = resources[kind].as_array().unwrap();
            for _ in 0..share * if long() { 20 } else { 1 } {
                let (fields, list_of): (&[Field], _) =
                    if kind == "Users" { (&USER, ("emails", &MAIL[..])) } else { (&GROUP, ("members", &MEMBER[..])) };
                let mut asker = Asker { chance: &mut chance, resources: known, fields, list: list_of };
                let text = asker.filter(2);
                let tree =
                    filter::parse(shape, &text, Mode::Tolerant).unwrap_or_else(|error| panic!("{text}: {error}"));
                let meant = known.iter().filter(|one| eval::matches(&tree, one.as_object().unwrap()));
                let meant: BTreeSet<String> = meant.map(id).collect();
                let listed: Vec<Value> = list(&idp, kind, Some(&text)).await;
                let found: BTreeSet<String> = listed.iter().map(id).collect();
                let second = oracle.ids(kind, &text);
                if found.len() != listed.len() || found != meant || second != meant {
                    let odd = found.symmetric_difference(&meant).chain(second.symmetric_difference(&meant)).next();
                    let odd = known.iter().find(|one| odd == Some(&id(one)));
                    let (daemon, eval, oracle) = (found.len(), meant.len(), second.len());
                    wrong.push(format!("{text}\n  daemon {daemon}, eval {eval}, oracle {oracle}; e.g. {odd:?}"));
                }
                if meant.is_empty() { none += 1 } else { some += 1 }
            }
        }
        eprintln!("{which:?}: {some} filters found somebody, {none} nobody");
        wrong.sort_by_key(String::len);
        wrong.truncate(5);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(some > none, "the filters ask for what is there");
    })
    .await;
}
