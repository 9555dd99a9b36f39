//! The sample staff: who works at the operator of the demo, as entries of its directory. Names of four languages, so that
//! folding, sorting and mails are seen with them; one person is disabled, one has no e-mail address, one group is nested.

use std::sync::Arc;

use super::directory::{Attributes, Directory};

pub const SUFFIX: &str = "dc=telco,dc=example";
pub const BIND_DN: &str = "cn=musterd,dc=telco,dc=example";

/// (first name, last name, department)
const STAFF: &[(&str, &str, &str)] = &[
    ("Eva", "Dvořáková", "helpdesk"),
    ("Řehoř", "Žižka", "helpdesk"),
    ("Jan", "Novák", "callcentre"),
    ("Łukasz", "Wójcik", "callcentre"),
    ("Małgorzata", "Żak", "helpdesk"),
    ("Jürgen", "Müller", "network"),
    ("Käthe", "Groß", "callcentre"),
    ("Alice", "O'Connor", "helpdesk"),
    ("Tom", "Baker", "network"),
    ("Zuzana", "Šťastná", "callcentre"),
    ("Piotr", "Zieliński", "network"),
    ("Ondřej", "Kučera", "helpdesk"),
    ("Agnieszka", "Dąbrowska", "callcentre"),
    ("Björn", "Schäfer", "helpdesk"),
    ("Grace", "Hill", "callcentre"),
    ("Lucie", "Procházková", "helpdesk"),
    ("Marek", "Němec", "network"),
    ("Hannah", "Weiß", "callcentre"),
    ("Stanisław", "Kowalski", "callcentre"),
    ("Věra", "Říhová", "helpdesk"),
];

/// Fills a new directory with the staff, their departments as groups, and a group of groups.
pub fn directory(password: &str) -> Arc<Directory> {
    let directory = Directory::new(SUFFIX, BIND_DN, password);
    let mut departments: Vec<(&str, Vec<String>)> = Vec::new();
    for (number, (first, last, department)) in STAFF.iter().enumerate() {
        let uid = deunicode::deunicode(&format!("{first}.{last}")).to_lowercase().replace('\'', "");
        let dn = format!("uid={uid},ou=people,{SUFFIX}");
        let mut entry: Attributes = attributes(&[
            ("objectClass", "inetOrgPerson"),
            ("entryUUID", &entry_uuid("person", number)),
            ("uid", &uid),
            ("givenName", first),
            ("sn", last),
            ("cn", &format!("{first} {last}")),
            ("displayName", &format!("{first} {last}")),
            ("employeeNumber", &format!("{:04}", 1000 + number)),
            ("departmentNumber", department),
            ("telephoneNumber", &format!("+420 601 000 {number:03}")),
        ]);
        if number != 8 {
            entry.extend(attributes(&[("mail", &format!("{uid}@telco.example"))]));
        }
        if number == 16 {
            entry.extend(attributes(&[("pwdAccountLockedTime", "000001010000Z")]));
        }
        directory.put(dn.clone(), entry);
        match departments.iter_mut().find(|(name, _)| name == department) {
            Some((_, members)) => members.push(dn),
            None => departments.push((department, vec![dn])),
        }
    }
    let groups: Vec<String> = departments.iter().map(|(name, _)| format!("cn={name},ou=groups,{SUFFIX}")).collect();
    departments.push(("everybody", groups));
    for (number, (name, members)) in departments.into_iter().enumerate() {
        let mut entry =
            attributes(&[("objectClass", "groupOfNames"), ("entryUUID", &entry_uuid("group", number)), ("cn", name)]);
        entry.push(("member".to_owned(), members));
        directory.put(format!("cn={name},ou=groups,{SUFFIX}"), entry);
    }
    directory
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect()
}

/// Always the same for the same entry, as a directory's own ids are.
fn entry_uuid(what: &str, number: usize) -> String {
    let kind = if what == "person" { 1 } else { 2 };
    format!("0d3a0000-000{kind}-4000-8000-{number:012x}")
}
