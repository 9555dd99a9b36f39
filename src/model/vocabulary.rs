//! What may be said of each kind: the names of attributes and what their values are, as plain data for whoever checks a
//! mapping or a pushed line. Kinds with a schema (users, groups) are closed: their words come from the schemas and are
//! laid in with `close`. The kinds of CRMs are open: musterd knows the words it acts on, and the rest is the CRM's own.
//! Start at `Vocabulary::open`.

use std::collections::BTreeMap;

use super::entity::urn;
use super::kind::Kind;
use super::near;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Text,
    Flag,
    Number,
    /// An instant of RFC 3339.
    Instant,
    /// A list of texts.
    Texts,
    /// A list of objects; their parts are words of their own.
    Elements,
    /// One object; its parts are words of their own.
    Parts,
    /// A flag that a source sets by an explicit mapping only (R35).
    Privileged,
    /// musterd's own, or the operator's: no source says it.
    ReadOnly,
}

/// Words of one kind, as people write them: `name.givenName`, `agent.note`, `urn:…:attribute`.
#[derive(Debug, Clone, Default)]
struct Words {
    /// Other words are the source's own.
    open: bool,
    all: BTreeMap<String, Sort>,
}

#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    kinds: BTreeMap<Kind, Words>,
    /// How a value is called whatever stands before it, for what is not one of the words of an open kind.
    leaves: BTreeMap<String, Sort>,
}

/// What a name is to a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Word(Sort),
    /// No word of musterd's, and the kind is open; the sort is what the last part usually is.
    Own(Option<Sort>),
    Unknown,
}

use Kind::{Company, Contact, Device, Session, Template, Ticket};

const EVERY: &[Kind] = &[Company, Contact, Ticket, Device, Session, Template];
const SPOKEN_TO: &[Kind] = &[Company, Contact];
const HAPPENING: &[Kind] = &[Ticket, Device, Session, Template];

/// The words of the open kinds.
const OPEN: &[(&str, Sort, &[Kind])] = &[
    ("displayName", Sort::Text, EVERY),
    ("number", Sort::Text, EVERY),
    ("active", Sort::Flag, EVERY),
    ("externalId", Sort::Text, EVERY),
    ("description", Sort::Text, EVERY),
    ("note", Sort::Text, EVERY),
    ("created", Sort::Instant, EVERY),
    ("status", Sort::Text, EVERY),
    ("category", Sort::Text, EVERY),
    ("emails", Sort::Elements, SPOKEN_TO),
    ("phoneNumbers", Sort::Elements, SPOKEN_TO),
    ("addresses", Sort::Elements, SPOKEN_TO),
    ("preferredLanguage", Sort::Text, SPOKEN_TO),
    ("locale", Sort::Text, SPOKEN_TO),
    ("timezone", Sort::Text, SPOKEN_TO),
    ("services", Sort::Texts, &[Company]),
    ("tier", Sort::Text, &[Company]),
    ("independent", Sort::Flag, &[Company]),
    ("name", Sort::Parts, &[Contact]),
    ("nickName", Sort::Text, &[Contact]),
    ("title", Sort::Text, &[Contact, Ticket, Device, Session, Template]),
    ("priority", Sort::Text, HAPPENING),
    ("externalComments", Sort::Flag, HAPPENING),
];

/// Parts of the words above, the same for every kind that has them.
const PARTS: &[(&str, &[&str])] = &[
    ("name", &["formatted", "givenName", "familyName", "middleName", "honorificPrefix", "honorificSuffix"]),
    ("emails", &["value", "display", "type", "primary"]),
    ("phoneNumbers", &["value", "display", "type", "primary"]),
    ("addresses", &["formatted", "streetAddress", "locality", "region", "postalCode", "country", "type", "primary"]),
];

impl Vocabulary {
    /// The kinds of CRMs. Users and groups are unknown until `close` brings their words.
    pub fn open() -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        for (word, sort, kinds) in OPEN {
            let parts = PARTS.iter().find(|(whole, _)| whole == word).map(|(_, parts)| *parts).unwrap_or_default();
            for kind in *kinds {
                let words =
                    &mut vocabulary.kinds.entry(*kind).or_insert_with(|| Words { open: true, ..Words::default() }).all;
                words.insert((*word).to_owned(), *sort);
                for part in parts {
                    let sort = if *part == "primary" { Sort::Flag } else { Sort::Text };
                    words.insert(format!("{word}.{part}"), sort);
                }
            }
            vocabulary.leaves.insert((*word).to_owned(), *sort);
        }
        vocabulary
    }

    /// Gives a kind exactly these words. A name is a path as `model::document::shown` writes it.
    pub fn close(&mut self, kind: Kind, words: impl IntoIterator<Item = (String, Sort)>) {
        let all: BTreeMap<String, Sort> = words.into_iter().map(|(name, sort)| (short(&name), sort)).collect();
        for (name, sort) in all.iter().filter(|(_, sort)| **sort != Sort::ReadOnly) {
            let plain =
                !name.contains('.') || EXTENSIONS.iter().any(|(short, _)| under(name, short).is_some_and(is_plain));
            if plain {
                let leaf = name.rsplit('.').next().unwrap_or(name);
                self.leaves.entry(leaf.to_owned()).or_insert(*sort);
            }
        }
        self.kinds.insert(kind, Words { open: false, all });
    }

    /// `name`: a path as `model::document::shown` writes it. A kind of which nothing was said knows nothing, and is open.
    pub fn look_up(&self, kind: Kind, name: &str) -> Known {
        let name = short(name);
        let Some(words) = self.kinds.get(&kind) else { return Known::Own(None) };
        match words.all.get(&name) {
            Some(sort) => Known::Word(*sort),
            None if words.open => Known::Own(self.leaves.get(name.rsplit(['.', ':']).next().unwrap_or(&name)).copied()),
            None => Known::Unknown,
        }
    }

    /// Whether the kind has only the words that are known.
    pub fn is_closed(&self, kind: Kind) -> bool {
        self.kinds.get(&kind).is_some_and(|words| !words.open)
    }

    /// What a source can say of the kind, without the parts of lists.
    pub fn words(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let words = self.kinds.get(&kind).map(|words| &words.all);
        let writable = move |name: &&String| words.and_then(|all| all.get(*name)) != Some(&Sort::ReadOnly);
        let is_part = move |name: &&String| {
            let whole = name.rsplit_once('.').and_then(|(whole, _)| words?.get(whole));
            whole == Some(&Sort::Elements)
        };
        let whole = move |name: &&String| words.and_then(|all| all.get(*name)) != Some(&Sort::Parts);
        words
            .into_iter()
            .flat_map(BTreeMap::keys)
            .filter(writable)
            .filter(move |name| !is_part(name))
            .filter(whole)
            .map(String::as_str)
    }

    /// The word that was probably meant, or the part of one.
    pub fn near(&self, kind: Kind, name: &str) -> Option<&str> {
        let all = self.kinds.get(&kind).into_iter().flat_map(|words| &words.all);
        let writable = all.filter(|(_, sort)| **sort != Sort::ReadOnly).map(|(name, _)| name.as_str());
        near::nearest(&short(name), writable)
    }
}

/// The short names of our extensions of a user.
pub const EXTENSIONS: [(&str, &str); 3] =
    [("agent", urn::AGENT), ("client", urn::CLIENT), ("enterprise", urn::ENTERPRISE)];

/// With the short name of the extension, where it has one.
pub fn short(name: &str) -> String {
    let found = EXTENSIONS.iter().find_map(|(short, urn)| Some((short, name.strip_prefix(urn)?.strip_prefix(':')?)));
    found.map_or_else(|| name.to_owned(), |(short, rest)| format!("{short}.{rest}"))
}

/// With the URN of the extension, as a document has it.
pub fn long(name: &str) -> String {
    let found = EXTENSIONS.iter().find_map(|(short, urn)| Some((urn, under(name, short)?)));
    found.map_or_else(|| name.to_owned(), |(urn, rest)| format!("{urn}:{rest}"))
}

fn under<'n>(name: &'n str, head: &str) -> Option<&'n str> {
    name.strip_prefix(head)?.strip_prefix('.')
}

fn is_plain(name: &str) -> bool {
    !name.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_kinds_know_all_their_words_and_open_ones_some() {
        let mut vocabulary = Vocabulary::open();
        let words = [
            ("userName", Sort::Text),
            ("emails", Sort::Elements),
            ("emails.value", Sort::Text),
            ("groups", Sort::ReadOnly),
            (&*format!("{}:twoFactor", urn::AGENT), Sort::Flag),
        ];
        vocabulary.close(Kind::User, words.map(|(name, sort)| (name.to_owned(), sort)));
        let user = |name: &str| vocabulary.look_up(Kind::User, name);
        assert_eq!(user("userName"), Known::Word(Sort::Text));
        assert_eq!(user(&format!("{}:twoFactor", urn::AGENT)), Known::Word(Sort::Flag));
        assert_eq!(user("groups"), Known::Word(Sort::ReadOnly));
        assert_eq!(user("username"), Known::Unknown);
        assert_eq!(vocabulary.words(Kind::User).collect::<Vec<_>>(), ["agent.twoFactor", "emails", "userName"]);
        assert_eq!(vocabulary.near(Kind::User, "twoFactor"), Some("agent.twoFactor"));
        assert_eq!(long("agent.twoFactor"), format!("{}:twoFactor", urn::AGENT));
        let contact = |name: &str| vocabulary.look_up(Contact, name);
        assert_eq!(contact("emails"), Known::Word(Sort::Elements));
        assert_eq!(contact("name.givenName"), Known::Word(Sort::Text));
        assert_eq!(contact("shoeSize"), Known::Own(None));
        assert_eq!(contact("urn:x:twoFactor"), Known::Own(Some(Sort::Flag)), "a flag is a flag wherever it stands");
        assert!(vocabulary.is_closed(Kind::User) && !vocabulary.is_closed(Contact));
    }
}
