//! What the indexes are asked never loses a resource that the filter means, and where it claims to be exact it finds those
//! and no others: every condition is judged here over one row as the engine would have made it (`entity::derive`), and
//! compared with the evaluator over the resource. The real databases are asked in `tests/it/oracle.rs`.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::narrow;
use crate::model::dialect::Mode;
use crate::model::entity::derive;
use crate::model::kind::{Kind, Rel};
use crate::model::time::Millis;
use crate::scim::testing::{Dice, cases, chance, filter, resource, shape};
use crate::scim::{eval, filter as language};
use crate::store::filter::{Cond, Order};

/// The row of a resource: columns and look-up rows.
struct Row<'r> {
    kind: Kind,
    resource: &'r Map<String, Value>,
}

impl Row<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.resource.get(name)?.as_str()
    }

    fn time(&self, name: &str) -> Millis {
        Millis::parse(self.resource["meta"][name].as_str().unwrap()).unwrap()
    }

    fn linked(&self, name: &str, id: &str) -> bool {
        let links = self.resource.get(name).and_then(Value::as_array);
        links.into_iter().flatten().any(|link| link["value"] == id)
    }

    fn satisfies(&self, cond: &Cond) -> bool {
        let derived = derive(self.kind, self.resource);
        match cond {
            Cond::All(parts) => parts.iter().all(|part| self.satisfies(part)),
            Cond::Any(parts) => parts.iter().any(|part| self.satisfies(part)),
            Cond::Nothing => false,
            Cond::Id(id) => self.text("id") == Some(&id.to_string()),
            Cond::Login(key) => derived.login_key.as_ref() == Some(key),
            Cond::HasLogin(has) => derived.login_key.is_some() == *has,
            Cond::External(id) => self.text("externalId") == Some(id),
            Cond::Lookup(name, value) => derived.lookups.iter().any(|(known, held)| known == name && held == value),
            Cond::HasEnd(Rel::Member, id) => self.linked("members", &id.to_string()),
            Cond::HasEnd(..) => unreachable!("these tests ask for no contacts"),
            Cond::MemberOf(id) => self.linked("groups", &id.to_string()),
            Cond::Active(on) => derived.active.unwrap_or(true) == *on,
            Cond::Created(order, at) => holds(*order, self.time("created"), *at),
            Cond::Modified(order, at) => holds(*order, self.time("lastModified"), *at),
        }
    }
}

fn holds(order: Order, value: Millis, wanted: Millis) -> bool {
    match order {
        Order::Equal => value == wanted,
        Order::After => value > wanted,
        Order::AtOrAfter => value >= wanted,
        Order::Before => value < wanted,
        Order::AtOrBefore => value <= wanted,
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn b7_nothing_that_is_meant_is_lost_by_narrowing(numbers in chance()) {
        let dice = &mut Dice::new(&numbers);
        let (endpoint, kind) = dice.pick(&[("Users", Kind::User), ("Groups", Kind::Group)]);
        let text = filter(endpoint, dice);
        let tree = language::parse(shape(endpoint), &text, Mode::Tolerant).unwrap();
        let narrowed = narrow(kind, Some(&tree));
        for _ in 0..4 {
            let resource = resource(endpoint, dice);
            let row = Row { kind, resource: &resource };
            let (meant, found) = (eval::matches(&tree, &resource), row.satisfies(&narrowed.cond));
            prop_assert!(found || !meant, "{} loses {:?}: {:?}", text, resource, narrowed);
            prop_assert!(!narrowed.exact || found == meant, "{} is not exact for {:?}: {:?}", text, resource, narrowed);
        }
    }
}
