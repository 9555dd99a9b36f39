//! What a source sees of people and groups, on both databases.

use super::*;
use crate::model::desired::Ref;
use crate::model::order::Key;
use crate::store::filter::{By, Order};
use crate::store::testing::both;
use crate::store::{Db, Read, edge, entity, values};

const AGENTS: Sight<'static> = Sight { source: "okta", realm: Some(Realm::Agent), own_only: false, kind: Kind::User };

fn id(n: u32) -> EntityId {
    format!("0198c0de-7a11-7abc-8def-{n:012}").parse().unwrap()
}

/// 1 and 2 are agents of okta, 3 an agent of another source, 4 a client, 5 an agent that okta let go of,
/// 6 a tombstone, 10 a group of okta with 1, 3, 4, 5 and two that nobody has.
async fn fill(db: &Db) {
    let mut tx = db.write().await.unwrap();
    for (n, kind, realm, state) in [
        (1, "user", "agent", "live"),
        (2, "user", "agent", "incomplete"),
        (3, "user", "agent", "live"),
        (4, "user", "client", "live"),
        (5, "user", "agent", "live"),
        (6, "user", "agent", "tombstone"),
        (10, "group", "agent", "live"),
    ] {
        let sql = "INSERT INTO entity (id, kind, realm, login_key, active, blocked, state, flags, version, created, modified, doc) \
                   VALUES ($1, $2, $3, $4, TRUE, FALSE, $5, 0, 1, $6, $6, $7)";
        let doc = format!(r#"{{"userName":"u{n}"}}"#);
        tx.execute(sql, values![id(n), kind, realm, format!("u{n}"), state, i64::from(n) * 1000, doc]).await.unwrap();
    }
    for (n, kind, source, ended) in [
        (1, "user", "okta", false),
        (2, "user", "okta", false),
        (3, "user", "hq", false),
        (4, "user", "portal", false),
        (5, "user", "okta", true),
        (5, "user", "hq", false),
        (6, "user", "okta", true),
        (10, "group", "okta", false),
    ] {
        let sql = "INSERT INTO assertion (source, kind, key, entity_id, external_id, ended, run_id, at) VALUES ($1, $2, $3, $4, $5, $6, '0198c0de-7a11-7abc-8def-000000000999', 0)";
        tx.execute(sql, values![source, kind, id(n), id(n), format!("x{n}"), ended]).await.unwrap();
    }
    tx.execute("INSERT INTO lookup (kind, name, value, entity_id) VALUES ('user', 'email', 'a@x', $1)", values![id(2)])
        .await
        .unwrap();
    for (n, known) in [(1, true), (3, true), (4, true), (5, true), (8, false)] {
        let to = known.then(|| id(n));
        let sql = "INSERT INTO edge (rel, from_id, source, target, to_id) VALUES ('member', $1, 'okta', $2, $3)";
        tx.execute(sql, values![id(10), Ref::Id(id(n)).stored(), to]).await.unwrap();
    }
    let sql = "INSERT INTO edge (rel, from_id, source, target, to_id) VALUES ('member', $1, $2, $3, $4)";
    tx.execute(sql, values![id(10), "okta", Ref::Key(Kind::User, "odd:one".to_owned()).stored(), None::<EntityId>])
        .await
        .unwrap();
    tx.execute(sql, values![id(10), "hq", "key:user:1", id(1)]).await.unwrap();
    tx.commit().await.unwrap();
}

async fn first(read: &mut Read, sight: &Sight<'_>, cond: &Cond) -> Vec<Found> {
    page(read, sight, cond, Arrange::BY_ID, &From::Offset(0), 10).await.unwrap()
}

fn ids(found: &[Found]) -> Vec<EntityId> {
    found.iter().map(|found| found.id).collect()
}

#[tokio::test]
async fn s11_what_lies_outside_does_not_exist() {
    both(|db| async move {
        fill(&db).await;
        let mut read = db.read().await.unwrap();
        for (n, seen) in [(1, true), (2, true), (3, true), (4, false), (5, false), (6, false), (7, false), (10, false)]
        {
            assert_eq!(load(&mut read, &AGENTS, id(n)).await.unwrap().is_some(), seen, "{n}");
        }
        let own = Sight { own_only: true, ..AGENTS };
        assert!(load(&mut read, &own, id(3)).await.unwrap().is_none());
        let all = Cond::All(Vec::new());
        assert_eq!(ids(&first(&mut read, &own, &all).await), [id(1), id(2)]);
        assert_eq!(count(&mut read, &AGENTS, &all).await.unwrap(), 3);
        let found = load(&mut read, &AGENTS, id(1)).await.unwrap().unwrap();
        assert_eq!((found.external_id.as_deref(), found.doc.as_str()), (Some("x1"), r#"{"userName":"u1"}"#));
        assert_eq!(
            load(&mut read, &AGENTS, id(3)).await.unwrap().unwrap().external_id,
            None,
            "it belongs to another source"
        );
        let mut tx = db.write().await.unwrap();
        assert!(lock(&mut tx, &AGENTS, id(1)).await.unwrap().is_some());
        tx.commit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn s11_what_is_loaded_to_be_changed_is_what_is_seen() {
    both(|db| async move {
        fill(&db).await;
        let mut tx = db.write().await.unwrap();
        for (n, own_only) in (1..=10).flat_map(|n| [(n, false), (n, true)]) {
            let sight = Sight { own_only, ..AGENTS };
            let (loaded, in_group) = entity::of_call(&mut tx, sight.source, sight.kind, id(n)).await.unwrap();
            let thing = loaded.iter().find(|(entity, _)| entity.id == id(n));
            let found = thing.and_then(|(entity, said)| of_loaded(&sight, entity, said.iter(), in_group));
            let seen = load(&mut tx, &sight, id(n)).await.unwrap();
            assert_eq!(format!("{found:?}"), format!("{seen:?}"), "{n} {own_only}");
            if let Some(seen) = seen {
                assert_eq!(seen.in_group, matches!(n, 1 | 3), "{n}");
            }
        }
        tx.commit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn conditions_find_what_they_say() {
    both(|db| async move {
        fill(&db).await;
        let mut read = db.read().await.unwrap();
        let groups = AGENTS.of(Kind::Group);
        for (sight, cond, wanted) in [
            (AGENTS, Cond::Login("u2".to_owned()), vec![2]),
            (AGENTS, Cond::External("x1".to_owned()), vec![1]),
            (AGENTS, Cond::External("x3".to_owned()), vec![]),
            (AGENTS, Cond::Lookup("email".into(), "a@x".to_owned()), vec![2]),
            (AGENTS, Cond::Lookup("email".into(), "%".to_owned()), vec![]),
            (AGENTS, Cond::MemberOf(id(10)), vec![1, 3]),
            (AGENTS, Cond::Any(vec![Cond::Id(id(1)), Cond::Id(id(4)), Cond::Login("u3".to_owned())]), vec![1, 3]),
            (AGENTS, Cond::All(vec![Cond::Active(true), Cond::Modified(Order::After, Millis(1000))]), vec![2, 3]),
            (AGENTS, Cond::Created(Order::AtOrBefore, Millis(2000)), vec![1, 2]),
            (AGENTS, Cond::Nothing, vec![]),
            (groups, Cond::HasEnd(Rel::Member, id(1)), vec![10]),
            (groups, Cond::HasEnd(Rel::Member, id(8)), vec![10]),
            (groups, Cond::HasEnd(Rel::Member, id(2)), vec![]),
        ] {
            let wanted: Vec<_> = wanted.into_iter().map(id).collect();
            assert_eq!(ids(&first(&mut read, &sight, &cond).await), wanted, "{cond:?}");
            assert_eq!(count(&mut read, &sight, &cond).await.unwrap(), wanted.len() as u64, "{cond:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_begins_behind_any_place_in_any_order() {
    both(|db| async move {
        fill(&db).await;
        let mut read = db.read().await.unwrap();
        let all = Cond::All(vec![Cond::HasLogin(true)]);
        for by in [By::Id, By::Login, By::Created, By::Modified] {
            for descending in [false, true] {
                let arrange = Arrange { by, descending };
                let mut wanted = vec![id(1), id(2), id(3)];
                if descending {
                    wanted.reverse();
                }
                let whole = page(&mut read, &AGENTS, &all, arrange, &From::Offset(0), 10).await.unwrap();
                assert_eq!(ids(&whole), wanted, "{arrange:?}");
                let rest = page(&mut read, &AGENTS, &all, arrange, &From::Offset(1), u64::MAX).await.unwrap();
                assert_eq!(ids(&rest), wanted[1..], "{arrange:?}");
                let first = &whole[0];
                let key = match by {
                    By::Id => None,
                    By::Login => Some(Key::Text(if descending { "u3" } else { "u1" }.to_owned())),
                    By::Created => Some(Key::Time(first.created)),
                    By::Modified => Some(Key::Time(first.modified)),
                };
                let behind = From::Behind(Mark { key, id: first.id });
                let next = page(&mut read, &AGENTS, &all, arrange, &behind, 1).await.unwrap();
                assert_eq!(ids(&next), wanted[1..2], "{arrange:?}");
            }
        }
        let none = Cond::HasLogin(false);
        assert_eq!(count(&mut read, &AGENTS, &none).await.unwrap(), 0);
        let mut some = ids(&of_ids(&mut read, &AGENTS, &[id(3), id(4), id(1), id(5)]).await.unwrap());
        some.sort_unstable();
        assert_eq!(some, [id(1), id(3)], "the others lie outside");
    })
    .await;
}

#[tokio::test]
async fn s11_a_foreign_member_looks_like_one_that_nobody_has() {
    both(|db| async move {
        fill(&db).await;
        let mut read = db.read().await.unwrap();
        let found = members(&mut read, &[AGENTS, AGENTS.of(Kind::Group)], Rel::Member, &[id(10)], 100).await.unwrap();
        let mut shown: Vec<_> = found.iter().map(|member| (member.value.clone(), member.kind)).collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                (id(1).to_string(), Some(Kind::User)),
                (id(3).to_string(), Some(Kind::User)),
                (id(4).to_string(), None),
                (id(8).to_string(), None),
                ("odd:one".to_owned(), None),
            ]
        );
        let groups = groups(&mut read, &AGENTS, &[id(1), id(2), id(3)]).await.unwrap();
        assert_eq!(
            groups.iter().map(|row| (row.user, row.group, row.direct)).collect::<Vec<_>>(),
            [(id(1), id(10), true), (id(3), id(10), true)]
        );
    })
    .await;
}

#[tokio::test]
async fn a3_groups_are_followed_up_to_a_depth_and_circles_once() {
    both(|db| async move {
        fill(&db).await;
        let mut tx = db.write().await.unwrap();
        // 1 is in 1000, that in 1001 and so on; 2 is in a circle of three, and in one of them by itself as well.
        let circle = [(2, 2000), (2, 2001), (2000, 2001), (2001, 2002), (2002, 2000)];
        let chain = (0..100).map(|n| if n == 0 { (1, 1000) } else { (999 + n, 1000 + n) });
        let groups: Vec<u32> = (1000..1100).chain(2000..2003).collect();
        let doc = r#"{"displayName":"g"}"#;
        for n in groups {
            let sql = "INSERT INTO entity (id, kind, realm, active, blocked, state, flags, version, created, modified, doc) \
                       VALUES ($1, 'group', 'agent', TRUE, FALSE, 'live', 0, 1, 0, 0, $2)";
            tx.execute(sql, values![id(n), doc]).await.unwrap();
        }
        for (member, group) in chain.chain(circle) {
            let sql = "INSERT INTO edge (rel, from_id, source, target, to_id) VALUES ('member', $1, 'hq', $2, $3)";
            tx.execute(sql, values![id(group), Ref::Id(id(member)).stored(), id(member)]).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut read = db.read().await.unwrap();
        let found = groups_of(&mut read, &[id(1), id(2)]).await;
        let of = |n: u32| found.iter().filter(|row| row.0 == id(n)).map(|row| (row.1, row.2)).collect::<Vec<_>>();
        assert_eq!(of(2), [(id(2000), true), (id(2001), true), (id(2002), false)]);
        let deep = of(1);
        assert_eq!((deep.len(), deep[0]), (DEEPEST + 1, (id(10), true)), "and the group of before");
        assert_eq!(deep.last(), Some(&(id(1063), false)));
        let above = above(&mut read, id(2000)).await.unwrap();
        assert_eq!(above.len(), 3, "a circle comes round to where it began");
        let pairs = edge::nesting(&mut read, &[id(2001), id(1000)], 1000).await.unwrap();
        assert_eq!(pairs.len(), 99 + 3);
        assert_eq!(edge::nesting(&mut read, &[id(2001), id(1000)], 7).await.unwrap().len(), 7);
    })
    .await;
}

async fn groups_of(read: &mut Read, users: &[EntityId]) -> Vec<(EntityId, EntityId, bool)> {
    let found = groups(read, &AGENTS, users).await.unwrap();
    assert!(found.iter().all(|row| row.doc.starts_with('{')));
    found.into_iter().map(|row| (row.user, row.group, row.direct)).collect()
}
