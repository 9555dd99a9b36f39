//! One operation of a client: what it is about and how it is written. What it does stands in `super`; nothing here knows
//! a schema. Start with `Ask`.

use serde_json::{Value, json};

use super::Thing;
use crate::model::entity::urn;
use crate::scim::patch::Op;
use crate::scim::testing::Dice;

const WORDS: [&str; 4] = ["a@x", "b@x", "A@X", ""];
const TYPES: [&str; 4] = ["work", "home", "Work", ""];

/// Which mails are meant.
#[derive(Debug, Clone)]
pub enum Which {
    /// These sub-attributes equal these values, all of them.
    Equal(Vec<(&'static str, Value)>),
    TypeIsNot(&'static str),
    ValueHas(&'static str),
}

/// One operation.
#[derive(Debug, Clone)]
pub enum Ask {
    /// `userName`, `title`, `displayName`.
    Plain(Op, &'static str, Value),
    /// A part of `name`, of the enterprise extension, or of `manager` in it.
    Part(Op, &'static [&'static str], Value),
    /// Several parts of `name` at once.
    Name(Op, Thing),
    /// The whole list; no value: a removal of everything.
    Mails(Op, Option<Vec<Thing>>),
    /// One sub-attribute of those that are meant, or of all.
    MailPart(Op, Option<Which>, &'static str, Value),
    /// Those that are meant, or (`Op::Remove`) they are taken away.
    MailsMeant(Op, Which, Thing),
    /// Without a path.
    Bare(Op, Vec<Ask>),
}

const NAME_PARTS: [&[&str]; 2] = [&["name", "familyName"], &["name", "givenName"]];
const ENTERPRISE_PARTS: [&[&str]; 2] = [&[urn::ENTERPRISE, "department"], &[urn::ENTERPRISE, "manager", "value"]];

impl Which {
    pub fn chance(dice: &mut Dice<'_>) -> Which {
        match dice.roll(6) {
            0 | 1 => Which::Equal(vec![("type", json!(dice.pick(&TYPES)))]),
            2 => Which::Equal(vec![("value", json!(dice.pick(&WORDS)))]),
            3 => Which::Equal(vec![("type", json!(dice.pick(&TYPES))), ("primary", json!(dice.roll(2) == 0))]),
            4 => Which::TypeIsNot(dice.pick(&TYPES)),
            _ => Which::ValueHas(dice.pick(&["a", "@X", "q"])),
        }
    }

    fn text(&self) -> String {
        match self {
            Which::Equal(all) => {
                let terms: Vec<String> = all.iter().map(|(name, value)| format!("{name} eq {value}")).collect();
                terms.join(" and ")
            }
            Which::TypeIsNot(kind) => format!("not (type eq {})", json!(kind)),
            Which::ValueHas(part) => format!("value co {}", json!(part)),
        }
    }

    pub fn means(&self, mail: &Thing) -> bool {
        let low = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_lowercase);
        match self {
            Which::Equal(all) => all.iter().all(|(name, value)| match value {
                Value::String(text) => low(mail.get(*name)) == Some(text.to_lowercase()),
                value => mail.get(*name) == Some(value),
            }),
            Which::TypeIsNot(kind) => low(mail.get("type")) != Some(kind.to_lowercase()),
            Which::ValueHas(part) => low(mail.get("value")).is_some_and(|text| text.contains(&part.to_lowercase())),
        }
    }
}

fn mail(dice: &mut Dice<'_>) -> Thing {
    let mut mail = Thing::new();
    mail.insert("value".to_owned(), json!(dice.pick(&WORDS)));
    if dice.roll(3) > 0 {
        mail.insert("type".to_owned(), json!(dice.pick(&TYPES)));
    }
    if dice.roll(3) == 0 {
        mail.insert("primary".to_owned(), json!(dice.roll(3) == 0));
    }
    mail
}

impl Ask {
    pub fn chance(dice: &mut Dice<'_>, bare: bool) -> Ask {
        let op = if bare { dice.pick(&[Op::Add, Op::Replace]) } else { dice.pick(&[Op::Add, Op::Replace, Op::Remove]) };
        let text = |dice: &mut Dice<'_>| {
            if dice.rarely(8) { Value::Null } else { json!(dice.pick(&["Eva", "Ing", "Ž", ""])) }
        };
        match dice.roll(if bare { 6 } else { 10 }) {
            0 => Ask::Plain(op, dice.pick(&["title", "displayName", "userName"]), text(dice)),
            1 => Ask::Part(op, dice.pick(&NAME_PARTS), text(dice)),
            2 => Ask::Part(op, dice.pick(&ENTERPRISE_PARTS), text(dice)),
            3 => {
                let mut parts = Thing::new();
                for part in ["familyName", "givenName"] {
                    if dice.roll(2) == 0 {
                        parts.insert(part.to_owned(), text(dice));
                    }
                }
                Ask::Name(op, parts)
            }
            4 | 5 => {
                let list = (0..dice.roll(3)).map(|_| mail(dice)).collect();
                Ask::Mails(op, if op == Op::Remove && dice.roll(2) == 0 { None } else { Some(list) })
            }
            6 | 7 => {
                let which = if dice.rarely(4) { None } else { Some(Which::chance(dice)) };
                let (part, value) = dice.pick(&[("value", 0), ("value", 0), ("type", 1), ("primary", 2)]);
                let value = match value {
                    0 => json!(dice.pick(&WORDS)),
                    1 => json!(dice.pick(&TYPES)),
                    _ => json!(dice.roll(2) == 0),
                };
                Ask::MailPart(op, which, part, value)
            }
            8 => Ask::MailsMeant(op, Which::chance(dice), mail(dice)),
            _ => {
                let mut all: Vec<Ask> = Vec::new();
                for _ in 0..dice.roll(3) {
                    let mut ask = Ask::chance(dice, true);
                    let same = if matches!(op, Op::Remove) { Op::Replace } else { op };
                    match &mut ask {
                        Ask::Plain(op, ..) | Ask::Part(op, ..) | Ask::Name(op, _) | Ask::Mails(op, _) => *op = same,
                        _ => {}
                    }
                    if all.iter().all(|other| other.key() != ask.key()) {
                        all.push(ask);
                    }
                }
                // An object is read in the order of its names.
                all.sort_by_key(Ask::key);
                Ask::Bare(if op == Op::Remove { Op::Replace } else { op }, all)
            }
        }
    }

    fn key(&self) -> String {
        match self {
            Ask::Plain(_, name, _) => (*name).to_owned(),
            Ask::Part(_, path, _) => match path {
                [urn, rest @ ..] if urn.contains(':') => format!("{urn}:{}", rest.join(".")),
                path => path.join("."),
            },
            Ask::Name(..) => "name".to_owned(),
            Ask::Mails(..) => "emails".to_owned(),
            Ask::MailPart(_, which, part, _) => match which {
                Some(which) => format!("emails[{}].{part}", which.text()),
                None => format!("emails.{part}"),
            },
            Ask::MailsMeant(_, which, _) => format!("emails[{}]", which.text()),
            Ask::Bare(..) => String::new(),
        }
    }

    fn value(&self) -> Option<Value> {
        Some(match self {
            Ask::Plain(_, _, value) | Ask::Part(_, _, value) | Ask::MailPart(_, _, _, value) => value.clone(),
            Ask::Name(_, parts) | Ask::MailsMeant(_, _, parts) => Value::Object(parts.clone()),
            Ask::Mails(_, list) => json!(list.as_ref()?),
            Ask::Bare(_, all) => all.iter().map(|ask| (ask.key(), ask.value().unwrap_or_default())).collect(),
        })
    }

    fn op(&self) -> Op {
        match self {
            Ask::Plain(op, ..) | Ask::Part(op, ..) | Ask::Name(op, ..) | Ask::Mails(op, ..) => *op,
            Ask::MailPart(op, ..) | Ask::MailsMeant(op, ..) | Ask::Bare(op, _) => *op,
        }
    }

    /// As a client writes it.
    pub fn sent(&self) -> Value {
        let word = match self.op() {
            Op::Add => "Add",
            Op::Replace => "replace",
            Op::Remove => "remove",
        };
        let mut sent = json!({"op": word});
        if !matches!(self, Ask::Bare(..)) {
            sent["path"] = self.key().into();
        }
        let silent = self.op() == Op::Remove && !matches!(self, Ask::Mails(..));
        if let Some(value) = self.value().filter(|_| !silent) {
            sent["value"] = value;
        }
        sent
    }

    /// Whether a second time is meant to change nothing: not where it writes what it asks for.
    pub fn settles(&self) -> bool {
        match self {
            Ask::MailPart(_, Some(_), part, _) => *part == "primary" && !self.key().contains("primary eq"),
            Ask::MailsMeant(op, ..) => *op == Op::Remove,
            _ => true,
        }
    }
}
