//! Who comes back, and who only looks as if: the key tells who somebody is, a login that is used again does not. Both databases.

use musterd::reconcile::End;
use musterd::store::Session as _;

use super::super::support::both;
use super::super::support::slapd::{Directory, ldif, person};
use super::sync::{Hq, SYNC, count};

/// Id and whether active, of everybody who has or had this login; the oldest first.
async fn accounts(hq: &Hq, login: &str) -> Vec<(String, bool, String)> {
    const SQL: &str = "SELECT DISTINCT e.id, e.active, e.state, e.created FROM entity e JOIN journal j ON j.entity_id = e.id \
                       WHERE e.kind = 'user' AND j.op = 'create' AND j.data LIKE '%\"label\":\"' || $1 || '\"%' ORDER BY e.created";
    let rows = hq.world.db.read().await.unwrap().all(SQL, vec![login.into()]).await.unwrap();
    rows.iter().map(|row| (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap())).collect()
}

/// What musterd itself keeps of somebody: a password, and who has them as a member.
async fn kept(hq: &Hq, id: &str) -> i64 {
    let sql =
        "SELECT (SELECT count(*) FROM credential WHERE entity_id = $1) + (SELECT count(*) FROM edge WHERE to_id = $1)";
    hq.world.db.read().await.unwrap().one(sql, vec![id.into()]).await.unwrap().get(0).unwrap()
}

async fn give_password(hq: &Hq, id: &str) {
    let mut tx = hq.world.db.write().await.unwrap();
    let sql = "INSERT INTO credential (entity_id, hash, must_change, changed) VALUES ($1, 'x', $2, 0)";
    tx.execute(sql, vec![id.into(), false.into()]).await.unwrap();
    tx.commit().await.unwrap();
}

/// Another person under the same name: the directory gives them a key of their own.
async fn replaced(directory: &Directory, n: usize) {
    directory.delete([person(n)]).await;
    let login = format!("p{n:06}");
    let attributes = [
        ("objectClass", "inetOrgPerson"),
        ("uid", login.as_str()),
        ("cn", "Other Person"),
        ("sn", "Person"),
        ("givenName", "Other"),
        ("mail", "other@example.com"),
        ("telephoneNumber", "+420 222 999999"),
    ];
    directory.add(&person(n), &attributes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_r72_a_login_that_is_used_again_inherits_nothing() {
    both(|which| async move {
        for mode in ["mode = 'paged'", "mode = 'syncrepl'", "mode = 'timestamp'\nsweep_every = '1ms'"] {
            // Groups would name the new person by the old name: they are not asked here.
            for (policy, made, old) in
                [("", 1, "live"), ("absence = 'delete'", 2, "tombstone"), ("match = ['login']", 1, "live")]
            {
                let what = format!("{mode} {policy}");
                let directory = Directory::syncing(&ldif(12, 0, 0)).await;
                let hq = Hq::with(which, &directory.url(), &format!("{mode}\n{policy}")).await;
                assert_eq!(hq.poll(SYNC).await.state, End::Done, "{what}");
                let first = accounts(&hq, "p000003").await.remove(0).0;
                give_password(&hq, &first).await;
                replaced(&directory, 3).await;
                let mut run = hq.poll(SYNC).await;
                if run.state == End::Done && policy == "absence = 'delete'" {
                    run = hq.poll(SYNC).await;
                }
                assert_eq!(run.state, End::Done, "{what}");
                let now = accounts(&hq, "p000003").await;
                assert_eq!((now.len(), now[0].2.as_str()), (made, old), "{what}: {now:?} {:?}", run.refused);
                match policy {
                    "" => {
                        // The one who left keeps the name, and is not let in by it; the new one is refused by name.
                        assert!(!now[0].1, "{what}: {now:?}");
                        let told: Vec<&str> = run.refused.iter().map(|refused| refused.reason.as_str()).collect();
                        assert!(told.len() == 1 && told[0].contains("p000003"), "{what}: {told:?}");
                    }
                    "match = ['login']" => assert!(now[0].1 && kept(&hq, &first).await == 1, "{what}: the same person"),
                    _ => {
                        assert!(!now[0].1 && now[1].1, "{what}: {now:?}");
                        assert_eq!(kept(&hq, &now[1].0).await, 0, "{what}: nothing of the other one's");
                    }
                }
                assert_eq!(count(&hq.poll(SYNC).await, "create"), 0, "{what}: once");
            }
        }
    })
    .await;
}
