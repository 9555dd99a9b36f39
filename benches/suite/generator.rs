//! The data of every measure: people, companies, groups, contacts and tickets as pure functions of a seed and a number,
//! so that any part can be made again without keeping it. Companies are Zipf-like, names are not ASCII, a person is about
//! 1.2 KB of JSON. Nothing here draws from a generator with state.

use serde_json::{Value, json};

/// Changing it changes every figure's data.
const SEED: u64 = 0x6d75_7374_6572_6421;

const GIVEN: [&str; 16] = [
    "Eva", "Jiří", "Łukasz", "Zoë", "Řehoř", "Anna", "Müge", "Jürgen", "Đorđe", "Marie", "Petr", "Žofie", "Paweł",
    "John", "Siobhán", "Noël",
];
const FAMILY: [&str; 16] = [
    "Novotná",
    "Žižka",
    "Müller",
    "Groß",
    "Wójcik",
    "Smith",
    "O'Neill",
    "Dvořák",
    "Šťastný",
    "van den Berg",
    "Łęcki",
    "Černý",
    "Weiß",
    "Königová",
    "Kowalska",
    "Nguyễn",
];
const TITLES: [&str; 6] = ["Consultant", "Team leader", "Dispatcher", "Administrátor", "Sachbearbeiter", "Kierownik"];

/// A number that depends on nothing but its arguments (SplitMix64).
pub fn draw(stream: u64, number: u64) -> u64 {
    let mut z = SEED ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd134_2543_de82_ef95);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Uniform in `0..bound`.
pub fn below(stream: u64, number: u64, bound: u64) -> u64 {
    ((u128::from(draw(stream, number)) * u128::from(bound.max(1))) >> 64) as u64
}

/// Zipf-like over `0..bound`: 0 has a tenth of everything, most have little.
pub fn skewed(stream: u64, number: u64, bound: u64) -> u64 {
    if below(stream, number, 10) == 0 {
        return 0;
    }
    let uniform = (draw(stream ^ 0x5a, number) >> 11) as f64 / (1_u64 << 53) as f64;
    (((bound as f64).powf(uniform) - 1.0) as u64).min(bound.saturating_sub(1))
}

fn pick(list: &[&'static str], stream: u64, number: u64) -> &'static str {
    list[below(stream, number, list.len() as u64) as usize]
}

pub fn login(number: u64) -> String {
    format!("person{number}@example.com")
}

pub fn given(number: u64) -> &'static str {
    pick(&GIVEN, 1, number)
}

pub fn family(number: u64) -> String {
    format!("{} {number}", pick(&FAMILY, 2, number))
}

/// A SCIM User as a large identity provider sends it.
pub fn user(number: u64) -> Value {
    let (given, family) = (given(number), family(number));
    json!({
        "schemas": [
            "urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
        ],
        "externalId": format!("ext-{number:08x}-{:016x}", draw(3, number)),
        "userName": login(number),
        "displayName": format!("{given} {family}"),
        "name": {"givenName": given, "familyName": family, "formatted": format!("{given} {family}")},
        "title": pick(&TITLES, 4, number),
        "active": below(5, number, 20) != 0,
        "preferredLanguage": pick(&["cs-CZ", "de-DE", "en-US", "pl-PL"], 6, number),
        "emails": [
            {"value": login(number), "type": "work", "primary": true},
            {"value": format!("p{number}@home.example.org"), "type": "home"}
        ],
        "phoneNumbers": [
            {"value": format!("+420 2{:08}", below(7, number, 100_000_000)), "type": "work"},
            {"value": format!("+420 6{:08}", below(8, number, 100_000_000)), "type": "mobile"}
        ],
        "addresses": [{
            "type": "work",
            "streetAddress": format!("Nádražní {}", 1 + below(9, number, 200)),
            "locality": pick(&["Praha", "Brno", "Łódź", "München", "Galway"], 10, number),
            "postalCode": format!("{:05}", below(11, number, 99_999)),
            "country": "CZ"
        }],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
            "employeeNumber": format!("{number}"),
            "organization": format!("Company {}", skewed(12, number, 1000)),
            "department": format!("Department {}", below(13, number, 40)),
            "costCenter": format!("{}", 1000 + below(14, number, 400))
        }
    })
}

/// Contacts, companies and tickets for visibility, as pushed records: one ticket in ten belongs to company 0.
pub struct World {
    pub tickets: u64,
}

impl World {
    pub fn companies(&self) -> u64 {
        (self.tickets / 50).max(10)
    }

    pub fn contacts(&self) -> u64 {
        (self.tickets / 10).max(20)
    }

    pub fn clients(&self) -> u64 {
        (self.tickets / 20).max(10)
    }

    /// The first contact of every company is its own, so that none is empty.
    pub fn company_of(&self, contact: u64) -> u64 {
        if contact < self.companies() { contact } else { skewed(20, contact, self.companies()) }
    }

    pub fn contact_of(&self, ticket: u64) -> u64 {
        if below(21, ticket, 10) == 0 { 0 } else { below(22, ticket, self.contacts()) }
    }

    /// Client 0 is paired with the busiest contact.
    pub fn paired_with(&self, client: u64) -> u64 {
        if client == 0 { 0 } else { below(23, client, self.contacts()) }
    }

    /// Spread over two years before 2026-09-21, in milliseconds.
    pub fn created(ticket: u64) -> i64 {
        1_790_000_000_000 - (below(24, ticket, 63_072_000_000) as i64)
    }
}

/// Where the person stands in a directory.
pub fn dn(number: u64, suffix: &str) -> String {
    format!("uid=u{number},ou=people,{suffix}")
}

/// The same person as an entry of an LDIF file for slapd: everything of it that `inetOrgPerson` has an attribute for.
pub fn ldif(number: u64, suffix: &str) -> String {
    use std::fmt::Write as _;

    let user = user(number);
    let said = |pointer: &str| user.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut entry = format!("dn: {}\nobjectClass: inetOrgPerson\nuid: u{number}\n", dn(number, suffix));
    for (attribute, pointer) in ATTRIBUTES {
        // Values that are not ASCII are base64 in LDIF (RFC 2849): two colons.
        let _ = writeln!(entry, "{attribute}:: {}", base64(said(pointer)));
    }
    entry.push('\n');
    entry
}

/// What a directory calls what SCIM calls by a pointer.
const ATTRIBUTES: [(&str, &str); 16] = [
    ("cn", "/name/formatted"),
    ("displayName", "/displayName"),
    ("sn", "/name/familyName"),
    ("givenName", "/name/givenName"),
    ("mail", "/emails/0/value"),
    ("mail", "/emails/1/value"),
    ("telephoneNumber", "/phoneNumbers/0/value"),
    ("mobile", "/phoneNumbers/1/value"),
    ("title", "/title"),
    ("preferredLanguage", "/preferredLanguage"),
    ("street", "/addresses/0/streetAddress"),
    ("l", "/addresses/0/locality"),
    ("postalCode", "/addresses/0/postalCode"),
    ("employeeNumber", "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/employeeNumber"),
    ("o", "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/organization"),
    ("departmentNumber", "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/department"),
];

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
