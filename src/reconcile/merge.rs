//! What all sources together say of one thing: document, state, whether it is active, and in which form each saying is
//! kept. A pure function of the sayings, with one exception: a login that must not change (R8).

use serde_json::Value;

use super::Refusal;
use super::context::{Context, Policies};
use super::world::{Fate, Thing};
use crate::model::document::{self, Document};
use crate::model::entity::{Derived, State, derive};
use crate::model::fold;
use crate::model::kind::Kind;
use crate::model::source::{SourceKind, SourcePolicy};

/// Brings `thing.now` up to what its holders say. Once per batch and thing, after all records.
pub fn settle(thing: &mut Thing, cx: &Context, source: &SourcePolicy) -> Result<(), Refusal> {
    let mut order: Vec<usize> = (0..thing.holds.len()).filter(|at| !thing.holds[*at].now.ended).collect();
    order.sort_by_key(|at| {
        let hold = &thing.holds[*at].now;
        (cx.policies.rank(&hold.source), hold.key.as_str())
    });
    let held = cx.policies.hold(thing.holds.iter().map(|hold| &hold.now));
    let dead = thing.fate == Fate::DeleteForAll || (!held && thing.fate == Fate::Delete);
    let stays = !held || dead;
    let only = if stays { None } else { only_saying(thing, &order) };
    let (doc, derived) = only.unwrap_or_else(|| {
        let doc = if stays { thing.now.doc.clone() } else { merged(thing, &order, cx) };
        keep_sayings(thing, &order, &doc);
        let derived = derive(thing.now.kind, &doc);
        (doc, derived)
    });
    thing.missing = missing(thing, cx, &doc);
    let state = match (dead, held) {
        (true, _) => State::Tombstone,
        (false, false) => thing.now.state,
        (false, true) if thing.missing.is_empty() => State::Live,
        (false, true) => State::Incomplete,
    };
    // A source may send too little, an operator may not (R4, R5).
    let was = thing.before.as_ref().map(|before| before.state);
    if source.kind == SourceKind::Operator && state == State::Incomplete && was != Some(State::Incomplete) {
        return Err(Refusal::Missing { fields: std::mem::take(&mut thing.missing) });
    }
    let login = login(thing, &order, cx, &derived);
    let now = &mut thing.now;
    now.active = held && state != State::Tombstone && !now.blocked && derived.active != Some(false);
    now.state = state;
    now.login_key = login;
    now.flags = derived.flags;
    now.doc = doc;
    thing.derived = Some(derived);
    Ok(())
}

/// A group that only a customer's own sources bring has its name among that customer's: what others call theirs it neither
/// learns nor is kept from.
fn login(thing: &Thing, order: &[usize], cx: &Context, derived: &Derived) -> Option<String> {
    if thing.now.kind != Kind::Group {
        return derived.login_key.clone();
    }
    let company = |at: &usize| cx.policies.get(&thing.holds[*at].now.source)?.company.as_deref();
    match order.first() {
        None => thing.now.login_key.clone(),
        Some(first) if order.iter().all(|at| company(at).is_some()) => {
            let key = derived.login_key.as_ref()?;
            Some(format!("{}\u{1f}{key}", fold::key(company(first)?)))
        }
        Some(_) => derived.login_key.clone(),
    }
}

/// Most things are new and one source speaks of them: its saying itself becomes the document, without a copy. `None`:
/// there is something to merge.
fn only_saying(thing: &mut Thing, order: &[usize]) -> Option<(Document, Derived)> {
    let ([at], [_], None) = (order, thing.holds.as_slice(), &thing.before) else { return None };
    let hold = &mut thing.holds[*at];
    let doc = hold.now.doc.take_if(|said| document::is_without_nulls(said))?;
    let derived = hold.derived.take().unwrap_or_else(|| derive(thing.now.kind, &doc));
    Some((doc, derived))
}

/// The merged document of the holders in `order`, the most believed first.
fn merged(thing: &mut Thing, order: &[usize], cx: &Context) -> Document {
    let sayings: Vec<&Document> = order.iter().map(|at| thing.saying(&thing.holds[*at])).collect();
    let mut doc = match sayings.as_slice() {
        [one] => document::without_nulls(one),
        _ => document::merge(sayings.iter().copied()),
    };
    if sayings.len() > 1 {
        join_unions(&mut doc, &sayings, thing, order, &cx.policies);
    }
    thing.login_kept = keep_login(thing, cx, &mut doc);
    doc
}

/// Attributes that are joined over all sources instead of taken from the highest.
fn join_unions(doc: &mut Document, sayings: &[&Document], thing: &Thing, order: &[usize], policies: &Policies) {
    let names = order.iter().filter_map(|at| policies.get(&thing.holds[*at].now.source));
    for name in names.flat_map(|policy| &policy.union) {
        let mut joined: Vec<Value> = Vec::new();
        for saying in sayings {
            for item in at_path(saying, name).and_then(Value::as_array).into_iter().flatten() {
                if !joined.iter().any(|have| same_item(have, item)) {
                    joined.push(item.clone());
                }
            }
        }
        if !joined.is_empty() {
            put_at(doc, name, Value::Array(joined));
        }
    }
}

/// Two items of a multi-valued attribute mean the same where their `value` does.
fn same_item(a: &Value, b: &Value) -> bool {
    match (a.get("value"), b.get("value")) {
        (Some(Value::String(a)), Some(Value::String(b))) => fold::key(a) == fold::key(b),
        _ => a == b,
    }
}

/// `name`, `name.part` or `urn:..:name` as the owning object and the last segment.
fn split<'n>(doc: &Document, name: &'n str) -> (Option<&'n str>, &'n str) {
    if doc.contains_key(name) {
        return (None, name);
    }
    match name.rsplit_once(if name.starts_with("urn:") { ':' } else { '.' }) {
        Some((outer, inner)) => (Some(outer), inner),
        None => (None, name),
    }
}

fn at_path<'d>(doc: &'d Document, name: &str) -> Option<&'d Value> {
    match split(doc, name) {
        (None, name) => doc.get(name),
        (Some(outer), inner) => doc.get(outer)?.get(inner),
    }
}

fn put_at(doc: &mut Document, name: &str, value: Value) {
    match split(doc, name) {
        (None, name) => {
            doc.insert(name.to_owned(), value);
        }
        (Some(outer), inner) => {
            let outer = doc.entry(outer).or_insert_with(|| Value::Object(Document::new()));
            if let Value::Object(outer) = outer {
                outer.insert(inner.to_owned(), value);
            }
        }
    }
}

/// Where the profile says so, a login never changes after creation, whoever asks for it. True: somebody asked.
fn keep_login(thing: &Thing, cx: &Context, doc: &mut Document) -> bool {
    let (Kind::User, Some(realm), Some(before)) = (thing.now.kind, thing.now.realm, &thing.before) else {
        return false;
    };
    let Some(login) = before.doc.get("userName").filter(|_| before.state != State::Tombstone) else { return false };
    if cx.policies.profiles.of(realm).login_mutable || doc.get("userName") == Some(login) {
        return false;
    }
    doc.insert("userName".to_owned(), login.clone());
    true
}

fn missing(thing: &Thing, cx: &Context, doc: &Document) -> Vec<String> {
    match (thing.now.kind, thing.now.realm) {
        (Kind::User, Some(realm)) => cx.policies.profiles.of(realm).missing(doc),
        _ => Vec::new(),
    }
}

/// A saying is written once: not beside the entity's document where the only holder says exactly that.
fn keep_sayings(thing: &mut Thing, order: &[usize], doc: &Document) {
    let alone = match order {
        [one] => Some(*one),
        _ => None,
    };
    for at in 0..thing.holds.len() {
        let says = thing.saying(&thing.holds[at]);
        let stored = match (alone == Some(at), thing.holds[at].now.ended) {
            (true, _) if says == doc => None,
            (_, true) if thing.holds[at].now.doc.is_none() && says == doc => None,
            _ => Some(says.clone()),
        };
        thing.holds[at].now.doc = stored;
    }
}
