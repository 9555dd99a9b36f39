//! Things and what hangs on them by the relations of visibility, as one row of one column a statement: from SQLite every
//! row and every column travels through a channel between two threads, which costs more than finding them. A row of the
//! join is a record of words, ids and numbers; records are separated by a character that none of them can hold, nor JSON.
//!
//! The joins name their indexes (migration 0004): one narrow entry per step, the document is read only where it is shown.
//! Decides nothing. Start with `THINGS`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::str::FromStr;

use super::db::{Error, Session};
use super::sql::Text;
use super::ticket;
use crate::model::entity::{Flags, State};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};
use crate::model::time::Millis;
use crate::model::visibility::{Company, Contact, Standing, Subject, Viewer};

/// One thing and what hangs on it by the relations of visibility.
#[derive(Debug, Clone)]
pub struct Thing {
    pub id: EntityId,
    pub kind: Kind,
    pub realm: Option<Realm>,
    pub active: bool,
    pub state: State,
    pub flags: Flags,
    /// Its own time of creation, else ours.
    pub at: Millis,
    /// Paired with, or concerned.
    pub contacts: Vec<Contact>,
    /// Member of, or customer.
    pub companies: Vec<Company>,
}

impl Thing {
    pub fn viewer(self) -> Option<Viewer> {
        let Thing { id, realm, active, state, flags, contacts, companies, .. } = self;
        (self.kind == Kind::User).then_some(Viewer { id, realm, active, state, flags, contacts, companies })
    }

    pub fn subject(self) -> Subject {
        let Thing { id, kind, active, state, flags, contacts, companies, .. } = self;
        Subject { id, kind, active, state, flags, contacts, customers: companies }
    }
}

/// Between records, and between the words of one and its document. JSON has neither.
const RECORD: char = '\u{1e}';
const DOCUMENT: char = '\u{1f}';

/// The words of a record about thing `f`, its contact or company `c` and the contact's company `k`. One step of merging is
/// followed; `x` tells that there is another.
macro_rules! words {
    () => {
        "f.kind || ' ' || f.realm || ' ' || CASE WHEN f.active THEN '1' ELSE '0' END || ' ' || f.state || ' ' || f.flags \
         || ' ' || COALESCE(f.ordered_at, f.created) || COALESCE(' ' || c.id || ' ' || c.kind || ' ' || \
         CASE WHEN c.active THEN '1' ELSE '0' END || ' ' || c.state || ' ' || \
         CASE WHEN x.to_id IS NULL THEN '0' ELSE '1' END || COALESCE(' ' || k.id || ' ' || \
         CASE WHEN k.active THEN '1' ELSE '0' END || ' ' || k.state, ''), '')"
    };
}

macro_rules! around {
    () => {
        " LEFT JOIN edge p /*sqlite: INDEXED BY edge_sight*/ ON p.from_id = f.id AND p.to_id IS NOT NULL \
         AND p.rel IN ('pairing', 'concerns', 'belongs_to', 'customer') \
         LEFT JOIN edge m /*sqlite: INDEXED BY edge_merged*/ ON m.from_id = p.to_id AND m.to_id IS NOT NULL \
         AND m.rel = 'merged_into' \
         LEFT JOIN edge x /*sqlite: INDEXED BY edge_merged*/ ON x.from_id = m.to_id AND x.to_id IS NOT NULL \
         AND x.rel = 'merged_into' \
         LEFT JOIN entity c /*sqlite: INDEXED BY entity_standing*/ ON c.id = COALESCE(m.to_id, p.to_id) \
         LEFT JOIN edge w /*sqlite: INDEXED BY edge_works*/ ON w.from_id = c.id AND w.to_id IS NOT NULL \
         AND w.rel = 'works_for' \
         LEFT JOIN entity k /*sqlite: INDEXED BY entity_standing*/ ON k.id = w.to_id AND k.kind = 'company'"
    };
}

/// Things by their ids; a list follows.
const THINGS: &str = concat!(
    "SELECT string_agg(f.id || ' ' || ",
    words!(),
    ", '\u{1e}') FROM entity f /*sqlite: INDEXED BY entity_standing*/",
    around!(),
    " WHERE f.id IN "
);
/// Things as listed in `s`, with their documents; where there is none any more the row of the list stays.
const LISTED: &str = concat!(
    "SELECT string_agg(s.created || ' ' || s.ticket_id || COALESCE(' ' || ",
    words!(),
    " || '\u{1f}' || f.doc, ''), '\u{1e}') FROM ("
);
const OF_LIST: &str = concat!(") s LEFT JOIN entity f ON f.id = s.ticket_id", around!());

/// Things that are being read.
#[derive(Default)]
pub(super) struct Gathered {
    pub things: HashMap<EntityId, Thing>,
    /// Thing and contact, where the contact was merged on: whom it lives on in is still to be found.
    pub chained: Vec<(EntityId, EntityId)>,
}

/// Those of `ids` that exist, at most `sql::MOST`.
pub(super) async fn things(session: &mut impl Session, ids: &[EntityId], into: &mut Gathered) -> Result<(), Error> {
    let mut text = Text::new(THINGS);
    text.list(ids.iter().copied());
    for record in records(session, text).await?.split_terminator(RECORD) {
        let mut words = Words(Some(record));
        let id = words.parse()?;
        into.take(id, &mut words)?;
    }
    Ok(())
}

/// Scopes that one statement reads: more are asked in pieces. A shorter list is filled up with what nothing lies under.
const SCOPES: [usize; 4] = [1, 2, 4, 16];
pub(super) const MOST_SCOPES: usize = SCOPES[SCOPES.len() - 1];

/// A row of a list: what it is about is in `Gathered`, if it is still there.
pub(super) struct Listed {
    pub at: Millis,
    pub id: EntityId,
    pub doc: Option<String>,
}

/// The newest under any of these scopes (at most `MOST_SCOPES`) behind `before`: one ordered range each, merged. Rows may
/// come twice and in any order.
pub(super) async fn newest(
    session: &mut impl Session,
    scopes: &[String],
    before: Option<(Millis, EntityId)>,
    limit: usize,
    into: &mut Gathered,
) -> Result<Vec<Listed>, Error> {
    let mut listed = Vec::with_capacity(limit);
    for record in records(session, list(scopes, before, limit)).await?.split_terminator(RECORD) {
        let (words, doc) = match record.split_once(DOCUMENT) {
            Some((words, doc)) => (words, Some(doc.to_owned())),
            None => (record, None),
        };
        let mut words = Words(Some(words));
        let (at, id) = (Millis(words.parse()?), words.parse()?);
        if !words.ended() {
            into.take(id, &mut words)?;
        }
        listed.push(Listed { at, id, doc });
    }
    Ok(listed)
}

fn list(scopes: &[String], before: Option<(Millis, EntityId)>, limit: usize) -> Text {
    let mut text = Text::new(LISTED);
    if let [scope] = scopes {
        ticket::range(&mut text, scope, before, limit);
    } else {
        let length = SCOPES.into_iter().find(|length| *length >= scopes.len()).unwrap_or(scopes.len());
        let scopes = scopes.iter().map(String::as_str).chain(std::iter::repeat(""));
        for (at, scope) in scopes.take(length).enumerate() {
            text.push(if at == 0 { "" } else { " UNION " }).push("SELECT created, ticket_id FROM (");
            ticket::range(&mut text, scope, before, limit);
            text.push(") r");
        }
        text.push(" ORDER BY created DESC, ticket_id DESC LIMIT ").bind(limit as i64);
    }
    text.push(OF_LIST);
    text
}

async fn records(session: &mut impl Session, text: Text) -> Result<String, Error> {
    Ok(session.one(text.sql, text.values).await?.get::<Option<String>>(0)?.unwrap_or_default())
}

impl Gathered {
    /// One record of a thing. Its far end may have been there before: several sources may assert the same.
    fn take(&mut self, id: EntityId, words: &mut Words<'_>) -> Result<(), Error> {
        let (kind, realm, active) = (words.parse()?, words.next()?.parse().ok(), words.yes()?);
        let (state, flags, at) = (words.parse()?, Flags(words.parse()?), Millis(words.parse()?));
        let thing = match self.things.entry(id) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let (contacts, companies) = (Vec::new(), Vec::new());
                free.insert(Thing { id, kind, realm, active, state, flags, at, contacts, companies })
            }
        };
        if words.ended() {
            return Ok(());
        }
        let (end, kind, standing, merged_on) = (words.parse()?, words.parse()?, words.standing()?, words.yes()?);
        match kind {
            Kind::Company => add(&mut thing.companies, Company { id: end, standing }),
            Kind::Contact => {
                let at = thing.contacts.iter().position(|contact| contact.id == end).unwrap_or_else(|| {
                    thing.contacts.push(Contact { id: end, standing, companies: Vec::new() });
                    thing.contacts.len() - 1
                });
                if !words.ended() {
                    let company = Company { id: words.parse()?, standing: words.standing()? };
                    add(&mut thing.contacts[at].companies, company);
                }
                if merged_on {
                    self.chained.push((id, end));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn add(companies: &mut Vec<Company>, company: Company) {
    if !companies.contains(&company) {
        companies.push(company);
    }
}

/// What is left of a record.
struct Words<'r>(Option<&'r str>);

impl<'r> Words<'r> {
    fn ended(&self) -> bool {
        self.0.is_none()
    }

    fn next(&mut self) -> Result<&'r str, Error> {
        let rest = self.0.ok_or_else(|| Error::Stored("a record of visibility is too short".to_owned()))?;
        let (word, rest) = rest.split_once(' ').map_or((rest, None), |(word, rest)| (word, Some(rest)));
        self.0 = rest;
        Ok(word)
    }

    fn parse<T: FromStr>(&mut self) -> Result<T, Error>
    where
        T::Err: std::fmt::Display,
    {
        self.next()?.parse().map_err(|error: T::Err| Error::Stored(error.to_string()))
    }

    fn yes(&mut self) -> Result<bool, Error> {
        Ok(self.next()? == "1")
    }

    fn standing(&mut self) -> Result<Standing, Error> {
        Ok(Standing::of(self.yes()?, self.parse()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind::Rel;
    use crate::store::testing::both;
    use crate::store::value::values;
    use crate::store::world::{id, link, put, put_full};

    /// What the planner would do, a line each.
    async fn plan(tx: &mut crate::store::Tx, embedded: bool, text: Text) -> Vec<String> {
        let (explain, column) = if embedded { ("EXPLAIN QUERY PLAN ", 3) } else { ("EXPLAIN (COSTS OFF) ", 0) };
        let rows = tx.all(format!("{explain}{}", text.sql), text.values).await.unwrap();
        rows.iter().map(|row| row.get(column).unwrap()).collect()
    }

    fn by_ids(count: u64) -> Text {
        let mut text = Text::new(THINGS);
        text.list((0..count).map(id));
        text
    }

    #[tokio::test]
    async fn every_step_is_a_search_of_one_narrow_index() {
        const STEPS: [(char, &str); 6] = [
            ('p', "COVERING INDEX edge_sight (from_id=?)"),
            ('m', "COVERING INDEX edge_merged (from_id=?)"),
            ('x', "COVERING INDEX edge_merged (from_id=?)"),
            ('c', "COVERING INDEX entity_standing (id=?)"),
            ('w', "COVERING INDEX edge_works (from_id=?)"),
            ('k', "COVERING INDEX entity_standing (id=? AND kind=?)"),
        ];
        both(|db| async move {
            let embedded = db.is_embedded();
            let mut tx = db.write().await.unwrap();
            if !embedded {
                // The tables are empty: without this a scan would be right.
                tx.execute("SET LOCAL enable_seqscan = off", values![]).await.unwrap();
            }
            let first = list(&["a".to_owned()], None, 51);
            let next = list(&["a".to_owned()], Some((Millis(7), id(1))), 51);
            let three = list(&["a".to_owned(), "b".to_owned(), "c".to_owned()], None, 51);
            let f = "COVERING INDEX entity_standing (id=?)";
            let (pages, of_page) =
                (Some("sqlite_autoindex_ticket_scope_1 (scope_id=?"), "INDEX sqlite_autoindex_entity_1 (id=?)");
            let texts = [
                (by_ids(2), None, f),
                (by_ids(500), None, f),
                (first, pages, of_page),
                (next, pages, of_page),
                (three, pages, of_page),
            ];
            for (number, (text, range, of)) in texts.into_iter().enumerate() {
                let plan = plan(&mut tx, embedded, text).await;
                if !embedded {
                    assert!(!plan.iter().any(|line| line.contains("Seq Scan")), "{plan:#?}");
                    continue;
                }
                for (alias, index) in STEPS.into_iter().chain([('f', of)]) {
                    let wanted =
                        |line: &String| line.starts_with(&format!("SEARCH {alias} USING")) && line.contains(index);
                    assert!(plan.iter().any(wanted), "{alias} by {index}: {plan:#?}");
                }
                // Only the rows of a range that was cut at its limit are walked through, and sorted where there are several.
                let several = number == 4;
                for line in &plan {
                    let walked = line.starts_with("SCAN ") && line != "SCAN s" && !(several && line == "SCAN r");
                    assert!(!walked && (several || !line.contains("TEMP B-TREE")), "{plan:#?}");
                }
                if let Some(range) = range {
                    let found = plan.iter().filter(|line| line.contains(range)).count();
                    assert_eq!(found, if several { 4 } else { 1 }, "{plan:#?}");
                }
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_list_over_several_scopes_is_the_newest_of_all_and_carries_documents_as_they_are() {
        both(|db| async move {
            let mut tx = db.write().await.unwrap();
            put(&mut tx, Kind::Contact, 1, 0).await;
            put(&mut tx, Kind::Company, 2, 0).await;
            link(&mut tx, Rel::WorksFor, 1, 2, "crm").await;
            let doc = r#"{"displayName": "a b\u001e\n \\ $1 Řehoř"}"#;
            let mut rows = Vec::new();
            for n in 10..20 {
                put_full(&mut tx, Kind::Ticket, n, "", 1, doc).await;
                link(&mut tx, Rel::Concerns, n, 1, "crm").await;
                rows.push((id(n % 3).to_string(), n as i64, id(n)));
            }
            // The same one under two scopes, and one that is no more.
            rows.push((id(1).to_string(), 19, id(19)));
            rows.push((id(2).to_string(), 30, id(99)));
            ticket::add(&mut tx, &rows).await.unwrap();
            let scopes: Vec<String> = (0..3).map(|n| id(n).to_string()).collect();
            for (before, expected) in [(None, [99, 19, 18, 17]), (Some((Millis(18), id(18))), [17, 16, 15, 14])] {
                let mut gathered = Gathered::default();
                let listed = newest(&mut tx, &scopes, before, 4, &mut gathered).await.unwrap();
                let mut ids: Vec<EntityId> = listed.iter().map(|row| row.id).collect();
                ids.sort_unstable_by(|a, b| b.cmp(a));
                assert_eq!(ids, expected.map(id));
                for row in listed {
                    let there = row.id != id(99);
                    assert_eq!(row.doc.as_deref(), there.then_some(doc));
                    let thing = gathered.things.get(&row.id);
                    assert_eq!(thing.map(|thing| thing.contacts[0].companies[0].id), there.then_some(id(2)));
                }
            }
        })
        .await;
    }

    #[test]
    fn a_record_that_is_cut_short_is_an_error_and_not_half_a_thing() {
        let whole = format!("ticket  1 live 0 5 {} contact 1 live 0", id(7));
        let read = |text: &str| {
            let mut gathered = Gathered::default();
            gathered.take(id(1), &mut Words(Some(text))).map(|()| gathered)
        };
        let thing = read(&whole).unwrap().things.remove(&id(1)).unwrap();
        assert_eq!((thing.kind, thing.active, thing.at, thing.contacts.len()), (Kind::Ticket, true, Millis(5), 1));
        for cut in [7, 9, 16, 30, whole.len() - 2] {
            assert!(matches!(read(&whole[..cut]), Err(Error::Stored(_))), "{}", &whole[..cut]);
        }
    }
}
