//! PATCH once more, as simply as it can be said: no schema, no parser, no sharing, each operation an `Ask` that knows what
//! it means (`Model::run`) and how a client would write it (`Ask::sent`). Random sequences must come to the same person by
//! `patch::apply` and by this. Copies nothing of `edit`; where RFC 7644 §3.5.2 leaves a choice, the line says which.

mod ask;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use ask::{Ask, Which};

use super::{Error, Op, Patched, apply, operations};
use crate::model::desired::{Ref, Targets};
use crate::model::dialect::{Dialect, Mode};
use crate::model::kind::Kind;
use crate::scim::testing::{Dice, ID, cases, chance, shape};

type Thing = Map<String, Value>;

/// Why a request is refused, as far as it has a word of its own.
#[derive(Debug, PartialEq, Eq)]
enum No {
    Value,
    Target,
    Needed,
}

/// Null and the empty text are no value.
fn said(value: &Value) -> bool {
    !value.is_null() && value != ""
}

fn without_empty(thing: &Thing) -> Thing {
    thing.iter().filter(|(_, value)| said(value)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_preferred(mail: &Thing) -> bool {
    mail.get("primary") == Some(&json!(true))
}

/// The person, and mails apart from the rest.
#[derive(Debug, Clone)]
struct Model {
    rest: Thing,
    mails: Vec<Thing>,
}

impl Model {
    fn of(document: &Thing) -> Model {
        let mut rest = document.clone();
        let mails = rest.remove("emails").unwrap_or_default();
        let mails = mails.as_array().into_iter().flatten().map(|mail| mail.as_object().unwrap().clone()).collect();
        Model { rest, mails }
    }

    fn put(&mut self, path: &[&str], value: Option<&Value>) {
        let mut at = &mut self.rest;
        let (last, before) = path.split_last().unwrap();
        for name in before {
            at = at.entry(*name).or_insert_with(|| json!({})).as_object_mut().unwrap();
        }
        match value.filter(|value| said(value)) {
            Some(value) => drop(at.insert((*last).to_owned(), value.clone())),
            None => drop(at.remove(*last)),
        }
        // What has become empty is gone, from the inside out.
        for depth in (1..path.len()).rev() {
            let mut at = &mut self.rest;
            for name in &path[..depth - 1] {
                at = at.get_mut(*name).unwrap().as_object_mut().unwrap();
            }
            if at.get(path[depth - 1]) == Some(&json!({})) {
                at.remove(path[depth - 1]);
            }
        }
    }

    fn run(&mut self, ask: &Ask) -> Result<(), No> {
        match ask {
            Ask::Plain(op, name, value) => self.put(&[*name], Some(value).filter(|_| *op != Op::Remove)),
            Ask::Part(op, path, value) => self.put(path, Some(value).filter(|_| *op != Op::Remove)),
            Ask::Name(Op::Remove, _) => drop(self.rest.remove("name")),
            // Parts that are not named stay, in a replacement too (§3.5.2.3).
            Ask::Name(_, parts) => parts.iter().for_each(|(part, value)| self.put(&["name", part], Some(value))),
            Ask::Mails(op, list) => self.list(*op, list.as_deref())?,
            Ask::MailPart(op, which, part, value) => self.part(*op, which.as_ref(), part, value)?,
            Ask::MailsMeant(Op::Remove, which, _) => self.mails.retain(|mail| !which.means(mail)),
            Ask::MailsMeant(_, which, parts) => self.change(Some(which), |mail| {
                for (name, value) in parts {
                    lay(mail, name, value);
                }
            })?,
            Ask::Bare(_, all) => all.iter().try_for_each(|ask| self.run(ask))?,
        }
        Ok(())
    }

    fn list(&mut self, op: Op, list: Option<&[Thing]>) -> Result<(), No> {
        let Some(list) = list else {
            self.mails.clear();
            return Ok(());
        };
        // Where nothing is, nothing is removed, whatever is listed.
        if op == Op::Remove && self.mails.is_empty() {
            return Ok(());
        }
        let mut given: Vec<Thing> = Vec::new();
        for mail in list.iter().map(without_empty) {
            if !mail.is_empty() && !given.contains(&mail) {
                given.push(mail);
            }
        }
        if given.iter().filter(|mail| is_preferred(mail)).count() > 1 {
            return Err(No::Value);
        }
        match op {
            Op::Replace => self.mails = given,
            Op::Add => {
                given.retain(|mail| !self.mails.contains(mail));
                if given.iter().any(is_preferred) {
                    unprefer(self.mails.iter_mut());
                }
                self.mails.extend(given);
            }
            // A listed mail means those of its value, and of its type if it says one.
            Op::Remove => self.mails.retain(|have| {
                !given.iter().any(|listed| match (have.get("value"), listed.get("value")) {
                    (Some(value), Some(wanted)) => {
                        value == wanted && listed.get("type").is_none_or(|kind| have.get("type") == Some(kind))
                    }
                    _ => listed.iter().all(|(name, value)| have.get(name) == Some(value)),
                })
            }),
        }
        Ok(())
    }

    fn part(&mut self, op: Op, which: Option<&Which>, part: &str, value: &Value) -> Result<(), No> {
        if op != Op::Remove {
            return self.change(which, |mail| match (part, said(value)) {
                // A mail without its address is no mail.
                ("value", false) => mail.clear(),
                _ => lay(mail, part, value),
            });
        }
        for mail in self.mails.iter_mut().filter(|mail| which.is_none_or(|which| which.means(mail))) {
            if part == "value" { mail.clear() } else { drop(mail.remove(part)) }
        }
        self.mails.retain(|mail| !mail.is_empty());
        Ok(())
    }

    /// Changes what is meant. Where nothing is, identity providers expect that it is made.
    fn change(&mut self, which: Option<&Which>, change: impl Fn(&mut Thing)) -> Result<(), No> {
        let meant: Vec<bool> = self.mails.iter().map(|mail| which.is_none_or(|which| which.means(mail))).collect();
        if meant.contains(&true) {
            for (mail, _) in self.mails.iter_mut().zip(&meant).filter(|(_, meant)| **meant) {
                change(mail);
            }
            if self.mails.iter().zip(&meant).any(|(mail, meant)| *meant && is_preferred(mail)) {
                unprefer(self.mails.iter_mut().zip(&meant).filter(|(_, meant)| !**meant).map(|(mail, _)| mail));
            }
        } else {
            let mut fresh = match which {
                None => Thing::new(),
                Some(Which::Equal(all)) => {
                    all.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
                }
                Some(_) => return Err(No::Target),
            };
            fresh = without_empty(&fresh);
            change(&mut fresh);
            if !fresh.is_empty() && which.is_some_and(|which| !which.means(&fresh)) {
                return Err(No::Target);
            }
            if is_preferred(&fresh) {
                unprefer(self.mails.iter_mut());
            }
            self.mails.push(fresh);
        }
        self.mails.retain(|mail| !mail.is_empty());
        Ok(())
    }

    fn end(mut self) -> Result<Thing, No> {
        if self.mails.iter().filter(|mail| is_preferred(mail)).count() > 1 {
            return Err(No::Value);
        }
        if !self.rest.contains_key("userName") {
            return Err(No::Needed);
        }
        if !self.mails.is_empty() {
            self.rest.insert("emails".to_owned(), json!(self.mails));
        }
        Ok(self.rest)
    }
}

fn lay(mail: &mut Thing, name: &str, value: &Value) {
    if said(value) { drop(mail.insert(name.to_owned(), value.clone())) } else { drop(mail.remove(name)) }
}

/// One is preferred at most: the newest.
fn unprefer<'m>(mails: impl Iterator<Item = &'m mut Thing>) {
    for mail in mails.filter(|mail| is_preferred(mail)) {
        mail.insert("primary".to_owned(), json!(false));
    }
}

fn person(dice: &mut Dice<'_>) -> Thing {
    let mut model = Model { rest: Thing::new(), mails: Vec::new() };
    model.put(&["userName"], Some(&json!("eva")));
    for _ in 0..dice.roll(5) {
        let before = model.clone();
        if model.run(&Ask::chance(dice, true)).is_err() || model.clone().end().is_err() {
            model = before;
        }
    }
    model.end().unwrap()
}

fn real(endpoint: &str, current: &Thing, sent: &[Value]) -> Result<Patched, Error> {
    let body = json!({"Operations": sent});
    apply(
        shape(endpoint),
        ID,
        current,
        &operations(body.as_object().unwrap(), Mode::Tolerant).unwrap(),
        &[],
        Dialect::default(),
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn b7_a_patch_is_what_the_simplest_reading_says(numbers in chance()) {
        let dice = &mut Dice::new(&numbers);
        let current = person(dice);
        let asks: Vec<Ask> = (0..=dice.roll(4)).map(|_| Ask::chance(dice, false)).collect();
        let sent: Vec<Value> = asks.iter().map(Ask::sent).collect();
        let mut model = Model::of(&current);
        let wanted = asks.iter().try_for_each(|ask| model.run(ask)).and_then(|()| model.end());
        let found = real("Users", &current, &sent).map(|patched| patched.document);
        let found = found.map_err(|error| match error {
            Error::InvalidValue(_) => No::Value,
            Error::NoTarget(_) => No::Target,
            Error::Mutability(_) => No::Needed,
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(&found, &wanted, "{:?} on {:?}", sent, current);

        // Said once more, it is true already.
        if let (Ok(once), [ask]) = (found, asks.as_slice()) && ask.settles() {
            let twice = real("Users", &once, &sent).map(|patched| patched.document);
            prop_assert_eq!(twice, Ok(once), "{:?} on {:?}", sent, current);
        }
    }

    #[test]
    fn b7_members_come_and_go_as_in_a_set(numbers in chance()) {
        let dice = &mut Dice::new(&numbers);
        let names = ["a", "b", "c", "d", "A"];
        let some = |dice: &mut Dice<'_>| (0..dice.roll(4)).map(|_| dice.pick(&names)).collect::<Vec<_>>();
        let before: BTreeSet<&str> = some(dice).into_iter().collect();
        let mut wanted = before.clone();
        let mut sent = Vec::new();
        for _ in 0..=dice.roll(4) {
            let (list, one) = (some(dice), dice.pick(&names));
            let value: Vec<Value> = list.iter().map(|name| json!({"value": name, "$ref": null})).collect();
            match dice.roll(7) {
                0 | 1 => {
                    sent.push(json!({"op": "add", "path": "members", "value": value}));
                    wanted.extend(list);
                }
                2 => {
                    sent.push(json!({"op": "Remove", "path": "members", "value": value}));
                    wanted.retain(|name| !list.contains(name));
                }
                3 => {
                    sent.push(json!({"op": "remove", "path": format!("members[value eq \"{one}\"]")}));
                    wanted.remove(one);
                }
                4 => {
                    sent.push(json!({"op": "replace", "value": {"members": value}}));
                    wanted = list.into_iter().collect();
                }
                5 => {
                    sent.push(json!({"op": "add", "value": {"members": value, "displayName": "g"}}));
                    wanted.extend(list);
                }
                _ => {
                    sent.push(json!({"op": "remove", "path": "members"}));
                    wanted.clear();
                }
            }
        }
        let group = json!({"displayName": "g"});
        let patched = real("Groups", group.as_object().unwrap(), &sent).unwrap();
        let name = |to: &Ref| match to {
            Ref::Key(_, name) => name.clone(),
            other => panic!("{other:?}"),
        };
        let mut found: BTreeSet<String> = before.iter().map(|name| (*name).to_owned()).collect();
        match patched.members.targets(Kind::User) {
            None => {}
            Some(Targets::Whole(all)) => found = all.iter().map(|target| name(&target.to)).collect(),
            Some(Targets::Delta { add, remove }) => {
                found.retain(|have| !remove.iter().any(|target| name(&target.to) == *have));
                found.extend(add.iter().map(|target| name(&target.to)));
            }
        }
        prop_assert_eq!(found, wanted.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), "{:?}", sent);
    }
}
