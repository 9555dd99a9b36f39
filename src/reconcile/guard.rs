//! How much may be taken away (B2). A run that would take more than its source may is held whole; a call that would is
//! refused, counted over a rolling window, because an identity provider sends its mistakes one by one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::plan::Planned;
use super::{Batch, Error};
use crate::model::catalogue::Catalogue;
use crate::model::change::{Change, Op};
use crate::model::document::{self, Document};
use crate::model::entity::urn::AGENT;
use crate::model::kind::Kind;
use crate::store::licence::order_of;
use crate::store::{self, Tx};

/// The window of calls.
const WINDOW: i64 = 3_600_000;

/// Whether a change takes something away.
pub fn is_loss(op: Op) -> bool {
    matches!(op, Op::Disable | Op::Delete | Op::Release)
}

/// As `is_loss`; whoever lacks from now on what an account needs loses login and licences as well (R5).
pub fn takes_away(change: &Change) -> bool {
    let state = |of: &Document| of.get("$state").and_then(Value::as_str).map(str::to_owned);
    let lacks =
        || state(&change.before).as_deref() == Some("live") && state(&change.after).as_deref() == Some("incomplete");
    is_loss(change.op) || lacks()
}

/// The name under which `emptied` tells of a licence that is wanted no more.
pub const LICENCE: &str = "licence";

/// What of a thing is emptied, or becomes so much less that others lose by it, while the thing goes on, by name.
pub fn emptied(change: &Change, catalogue: &Catalogue) -> Vec<String> {
    if takes_away(change) {
        return Vec::new();
    }
    let leaves = document::leaves(&change.after).into_iter().filter(|(path, _)| !path[0].starts_with('$'));
    let gone = leaves.filter(|(path, value)| value.is_null() || orders_less(change, path, catalogue));
    let name = |path: &[&str]| match path {
        [AGENT, LICENCE] => LICENCE.to_owned(),
        path => document::shown(path),
    };
    gone.map(|(path, _)| name(&path)).collect()
}

/// Whether a company has fewer services than before, or a lower tier: what its people hold rests on both (R21).
fn orders_less(change: &Change, path: &[&str], catalogue: &Catalogue) -> bool {
    if change.kind != Kind::Company {
        return false;
    }
    let (before, now) = (order_of(&change.before), order_of(&change.after));
    match path {
        ["services"] => !before.services.is_subset(&now.services),
        ["tier"] => {
            let rank = |tier: Option<&str>| tier.and_then(|tier| catalogue.rank(tier));
            rank(before.tier.as_deref()) > rank(now.tier.as_deref())
        }
        _ => false,
    }
}

/// Refuses a call that would take away more than the source may within the window. Things that are younger than the
/// window do not count: who makes a mistake in creating may clear it away.
pub async fn window(tx: &mut Tx, batch: &Batch<'_>, planned: &Planned) -> Result<(), Error> {
    let born = batch.at.plus(-WINDOW);
    let lost = |kind: Kind| {
        let losses = planned.changes.iter().filter(|change| change.kind == kind && takes_away(change));
        let old = losses.filter(|change| {
            let thing = change.entity.and_then(|id| planned.world.things.get(&id));
            thing.is_some_and(|thing| thing.now.created < born)
        });
        old.count() as u64
    };
    let kinds: BTreeSet<Kind> = planned.changes.iter().map(|change| change.kind).collect();
    let Some((kind, now)) = kinds.iter().map(|kind| (*kind, lost(*kind))).find(|(_, lost)| *lost > 0) else {
        return Ok(());
    };
    let source = batch.source;
    let today = super::context::run_of_day(&source.name, batch.at);
    let yesterday = super::context::run_of_day(&source.name, born);
    let since = crate::clock::Clock::seq_at(born);
    let mut losses = now + store::journal::losses_since(tx, today, since, born.0).await?;
    if yesterday != today {
        losses += store::journal::losses_since(tx, yesterday, since, born.0).await?;
    }
    if losses <= source.guard.count {
        return Ok(());
    }
    let held = store::assertion::count_held(tx, &source.name, kind, i64::MAX).await?;
    let limit = source.guard.limit(held + losses);
    if losses > limit {
        return Err(Error::Held { source_name: source.name.clone(), losses, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use crate::config::licences::built_in;
    use crate::model::kind::Kind;
    use crate::model::source::SourceKind;
    use crate::reconcile::apply_tests::{World, policy, present, says};
    use crate::reconcile::run_tests::sync;
    use crate::reconcile::{Context, End, Policies};
    use crate::store::testing::both;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn b2_r21_companies_that_would_have_less_wait_for_a_person() {
        both(|db| async move {
            let mut world = World::new(db);
            let policies = Policies::new([policy("ldap", SourceKind::Ldap, 20)]).with_catalogue(built_in());
            world.cx = Context::new(world.cx.clock.clone(), Arc::new(policies), "source:test");
            let companies = |services: &[&str], tier: &str| {
                let of = |n: u32| {
                    let said = json!({"displayName": format!("c{n}"), "services": services, "tier": tier});
                    present(says(Kind::Company, &format!("c{n}"), said))
                };
                (0..20).map(of).collect::<Vec<_>>()
            };
            let both = ["pbx", "helpdesk"];
            assert_eq!(sync(&world, companies(&both, "PROFI")).await.state, End::Done);
            for (services, tier, what) in [
                (&both[..1], "PROFI", vec!["company services"]),
                (&[], "PROFI", vec!["company services"]),
                (&["crm"], "START", vec!["company services", "company tier"]),
                (&both, "START", vec!["company tier"]),
                (&both, "Bronze", vec!["company tier"]),
            ] {
                let run = sync(&world, companies(services, tier)).await;
                let stops: Vec<&str> = run.stops.iter().map(|stop| stop.what.as_str()).collect();
                assert_eq!((run.state, stops), (End::Held, what), "{services:?} {tier}");
                assert!(run.stops.iter().all(|stop| (stop.losses, stop.held) == (20, 20)));
            }
            // More, and the same in other words, is no loss.
            assert_eq!(sync(&world, companies(&["Helpdesk", "PBX", "crm"], "enterprise")).await.state, End::Done);
        })
        .await;
    }
}
