//! What a source may say that is bound to one company (a customer's own): of people and groups that it brings itself, and
//! that they belong to its company. Companies, contacts, tickets and what hangs on them are the operator's sources' to
//! tell, because numbers of these are asked for across all sources. Pure. Start at `fault`.

use crate::model::desired::{Desired, Ref, Target, Targets};
use crate::model::fold;
use crate::model::kind::{Kind, Rel};
use crate::model::source::SourcePolicy;

/// Why a bound source may not say this: what, and what is allowed.
pub(super) fn fault(source: &SourcePolicy, desired: &Desired) -> Option<String> {
    let company = source.company.as_deref()?;
    if let Some(reason) = of_kind(source, desired.kind) {
        return Some(reason);
    }
    let own = |target: &Target| matches!(&target.to, Ref::Id(_) | Ref::Key(..) | Ref::Alias(_));
    let mine = |target: &Target| {
        matches!(&target.to, Ref::Match { kind: Kind::Company, attribute, value }
            if attribute == "number" && *value == fold::key(company))
    };
    let within = |rel: Rel, target: &Target| match rel {
        Rel::Member | Rel::Manager => own(target),
        Rel::BelongsTo => mine(target),
        _ => false,
    };
    desired.relations.iter().find_map(|(rel, targets)| {
        // Taking back is always allowed: it can only be the source's own row.
        let (Targets::Whole(said) | Targets::Delta { add: said, .. }) = targets;
        said.iter().any(|target| !within(*rel, target)).then(|| {
            let allowed = match rel {
                Rel::Member | Rel::Manager => "keys of this source".to_owned(),
                Rel::BelongsTo => format!("{{\"number\": \"{company}\"}}"),
                _ => "nothing".to_owned(),
            };
            format!("relations.{}: a source bound to company {company} may say {allowed}", rel.as_str())
        })
    })
}

pub(super) fn of_kind(source: &SourcePolicy, kind: Kind) -> Option<String> {
    let company = source.company.as_deref()?;
    let people = matches!(kind, Kind::User | Kind::Group);
    (!people).then(|| format!("kind: a source bound to company {company} brings users and groups only"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Map;

    use super::*;
    use crate::config::Config;
    use crate::model::desired::Write;

    #[test]
    fn r13_a_bound_source_speaks_of_its_own_people_and_of_its_company_alone() {
        let text = "[sources.a]\nkind = 'push'\nrealm = 'client'\ncompany = 'Č-1'\n[sources.b]\nkind = 'push'";
        let config = Config::parse(text).unwrap();
        let (bound, free) = (config.policy("a").unwrap(), config.policy("b").unwrap());
        let desired = |kind: Kind, relations: BTreeMap<Rel, Targets>| Desired {
            kind,
            key: "k".to_owned(),
            realm: None,
            alias: None,
            attributes: Map::new(),
            write: Write::Whole,
            relations,
            digest: None,
        };
        let by_number = |kind: Kind, number: &str| {
            let value = fold::key(number);
            Target::from(Ref::Match { kind, attribute: "number".to_owned(), value })
        };
        let key = |kind: Kind| Target::from(Ref::Key(kind, "k2".to_owned()));
        let user = |rel: Rel, target: Target| desired(Kind::User, [(rel, Targets::Whole(vec![target]))].into());
        let taken_back = Targets::Delta { add: vec![], remove: vec![by_number(Kind::Contact, "9")] };
        for (right, said) in [
            (true, desired(Kind::User, BTreeMap::new())),
            (true, user(Rel::BelongsTo, by_number(Kind::Company, "č-1"))),
            (true, user(Rel::Manager, key(Kind::User))),
            (true, desired(Kind::Group, [(Rel::Member, Targets::Whole(vec![key(Kind::User)]))].into())),
            (true, desired(Kind::User, [(Rel::Pairing, taken_back)].into())),
            (false, user(Rel::BelongsTo, by_number(Kind::Company, "Č-2"))),
            (false, user(Rel::BelongsTo, key(Kind::Company))),
            (false, user(Rel::Manager, by_number(Kind::User, "9"))),
            (false, user(Rel::Pairing, key(Kind::Contact))),
            (false, user(Rel::Pairing, by_number(Kind::Contact, "9"))),
            (false, desired(Kind::Company, BTreeMap::new())),
            (false, desired(Kind::Contact, BTreeMap::new())),
            (false, desired(Kind::Ticket, BTreeMap::new())),
        ] {
            assert_eq!(fault(bound, &said).is_none(), right, "{said:?}");
            assert_eq!(fault(free, &said), None);
        }
    }
}
