//! Pictures in a directory: what is kept of one is the address that a mapping makes, which is another one as soon as the
//! picture is. Their bytes go nowhere. Both databases.

use std::collections::HashSet;
use std::fmt::Write as _;

use base64::Engine as _;
use musterd::reconcile::End;
use musterd::store::Session as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::support::both;
use super::super::support::slapd::{Directory, ldif, person};
use super::sync::{Hq, SYNC, count};

/// With the marks of a JPEG, which slapd looks at.
fn picture(of: &str) -> Vec<u8> {
    [b"\xff\xd8\xff\xe0", of.repeat(20_000).as_bytes(), b"\xff\xd9"].concat()
}

async fn hang(directory: &Directory, n: usize, pictures: &[Vec<u8>]) {
    let all: HashSet<Vec<u8>> = pictures.iter().cloned().collect();
    let change = ldap3::Mod::Replace(b"jpegPhoto".to_vec(), all);
    directory.admin().await.modify(&person(n), vec![change]).await.unwrap().success().unwrap();
}

/// What is known of the photos of one person.
async fn photos(hq: &Hq, login: &str) -> Value {
    let mut read = hq.world.db.read().await.unwrap();
    let sql = "SELECT doc FROM entity WHERE login_key = $1";
    let doc: String = read.one(sql, vec![login.into()]).await.unwrap().get(0).unwrap();
    serde_json::from_str::<Value>(&doc).unwrap()["photos"].clone()
}

/// Everything that is kept as text.
async fn kept(hq: &Hq) -> String {
    let mut read = hq.world.db.read().await.unwrap();
    let mut all = String::new();
    for sql in ["SELECT doc FROM entity", "SELECT doc FROM assertion", "SELECT data FROM journal"] {
        for row in read.all(sql, vec![]).await.unwrap() {
            all += &row.get::<Option<String>>(0).unwrap().unwrap_or_default();
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_b5_a_picture_is_an_address_that_changes_with_it() {
    both(|which| async move {
        for mode in ["mode = 'paged'", "mode = 'syncrepl'"] {
            let directory = Directory::syncing(&ldif(6, 1, 2)).await;
            let (old, new) = (picture("an old face"), picture("a new face"));
            hang(&directory, 1, std::slice::from_ref(&old)).await;
            let rule = "[sources.hq.users.map]\n\"photos.photo\" = { from = \
                        'https://intra.example.com/{{ uid }}.jpg?v={{ jpegPhoto | first }}', optional = true }";
            let hq = Hq::with(which, &directory.url(), &format!("{mode}\n{rule}")).await;
            let first = hq.poll(SYNC).await;
            assert_eq!((first.state, count(&first, "bad")), (End::Done, 0), "{:?}", first.refused);
            let address = |picture: &[u8]| {
                let digest = Sha256::digest(picture).iter().fold(String::new(), |mut text, byte| {
                    let _ = write!(text, "{byte:02x}");
                    text
                });
                json!([{ "type": "photo", "value": format!("https://intra.example.com/p000001.jpg?v={digest}") }])
            };
            assert_eq!(photos(&hq, "p000001").await, address(&old), "{mode}");
            assert_eq!(photos(&hq, "p000002").await, Value::Null, "who has none has no address");

            // Hung up once more, and nothing is another: nothing is written.
            let before = hq.figures().await;
            hang(&directory, 1, std::slice::from_ref(&old)).await;
            assert_eq!(hq.poll(SYNC).await.run, None, "{mode}");
            assert_eq!(hq.figures().await, before, "{mode}");

            hang(&directory, 1, std::slice::from_ref(&new)).await;
            let changed = hq.poll(SYNC).await;
            assert_eq!((changed.state, count(&changed, "update")), (End::Done, 1), "{mode}: {:?}", changed.counts);
            assert_eq!(photos(&hq, "p000001").await, address(&new), "{mode}");

            let everything = kept(&hq).await;
            let files = hq.bytes();
            for picture in [&old, &new] {
                let text = base64::engine::general_purpose::STANDARD.encode(picture);
                assert!(!everything.contains(&text[..60]), "{mode}");
                for (name, bytes) in &files {
                    for part in [&picture[4..40], &text.as_bytes()[..60]] {
                        assert!(!bytes.windows(part.len()).any(|found| found == part), "{mode}: {name:?}");
                    }
                }
            }

            hang(&directory, 1, &[]).await;
            assert_eq!(hq.poll(SYNC).await.state, End::Done);
            assert_eq!(photos(&hq, "p000001").await, Value::Null, "{mode}");
            assert_eq!(hq.poll(SYNC).await.run, None, "{mode}");
        }
    })
    .await;
}
