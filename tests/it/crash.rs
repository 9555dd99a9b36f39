//! Stories of kill -9 and of clients that hang up: no acknowledged write is lost, nothing stays stuck, on both databases.
//! Five kills in the ordinary run, fifty with `MUSTERD_LONG=1`. What happens at power loss is not shown here: the
//! database's own durability is.

use std::io::Write as _;
use std::time::{Duration, Instant};

use musterd::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use super::support::daemon::Daemon;
use super::support::http::{Http, try_answer};
use super::support::{Which, both, long};

const CONFIG: &str = "[sources.idp]\nkind = \"scim\"\nrealm = \"agent\"\n";
const CLIENTS: usize = 8;

/// What may be found of one user: more than one thing once an answer stayed out. `None`: not there.
struct User {
    id: String,
    titles: Vec<Option<String>>,
}

/// How a call ended.
enum Outcome {
    Acknowledged(Value),
    /// No answer, or one that says that something inside failed: it may have happened or not.
    Unknown,
}

async fn call(http: &Http, method: Method, path: &str, body: Option<Value>) -> Outcome {
    let mut request = http.request(method.clone(), path);
    if let Some(body) = body {
        request = request.header("content-type", "application/scim+json").body(body.to_string());
    }
    match try_answer(request).await {
        Ok(answer) if answer.status < 300 => {
            Outcome::Acknowledged(if answer.text.is_empty() { Value::Null } else { answer.json() })
        }
        Ok(answer) if answer.status >= 500 => Outcome::Unknown,
        Ok(answer) => panic!("{method} {path}: {} {}", answer.status, answer.text),
        Err(_) => Outcome::Unknown,
    }
}

/// Creates, changes and deletes users of its own until the daemon is gone.
async fn write_until_dead(http: Http, client: usize, round: usize, clock: Clock, mut users: Vec<User>) -> Vec<User> {
    for n in 0.. {
        let title = format!("c{client} r{round} n{n}");
        let chosen = clock.below(users.len() as u64) as usize;
        let create = users.len() < 3 || n % 3 == 0;
        let alive = if create {
            let name = format!("c{client}-r{round}-n{n}@example.com");
            let body = json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                "userName": name, "displayName": title, "title": title,
                "emails": [{"value": name, "primary": true}]
            });
            match call(&http, Method::POST, "/scim/v2/Users", Some(body)).await {
                Outcome::Acknowledged(user) => {
                    let id = user["id"].as_str().expect("an id").to_owned();
                    users.push(User { id, titles: vec![Some(title)] });
                    true
                }
                Outcome::Unknown => false,
            }
        } else {
            let user = &mut users[chosen];
            let delete = n % 10 == 7;
            let path = format!("/scim/v2/Users/{}", user.id);
            let (method, body, wanted) = if user.titles == [None] {
                continue;
            } else if delete {
                (Method::DELETE, None, None)
            } else {
                let body = json!({
                    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                    "Operations": [{"op": "replace", "path": "title", "value": title}]
                });
                (Method::PATCH, Some(body), Some(title))
            };
            match call(&http, method, &path, body).await {
                Outcome::Acknowledged(_) => {
                    user.titles = vec![wanted];
                    true
                }
                Outcome::Unknown => {
                    user.titles.push(wanted);
                    false
                }
            }
        };
        if !alive {
            break;
        }
    }
    users
}

/// Every user is as it was last acknowledged. What was unknown is known afterwards.
async fn verify(http: &Http, users: &mut [User]) {
    for user in users {
        let answer = http.get(&format!("/scim/v2/Users/{}", user.id)).await;
        let found = match answer.status {
            404 => None,
            _ => Some(answer.expect(200)["title"].as_str().unwrap_or_default().to_owned()),
        };
        assert!(user.titles.contains(&found), "user {}: found {found:?}, acknowledged {:?}", user.id, user.titles);
        user.titles = vec![found];
    }
}

#[tokio::test]
async fn b8_no_acknowledged_write_is_lost_to_kill_9() {
    let kills = if long() { 50 } else { 5 };
    both(async |which| {
        let clock = Clock::system();
        let mut daemon = Daemon::builder(which).config(CONFIG).start().await;
        let token = daemon.token(&["--source", "idp", "--scope", "scim"]);
        let mut users: Vec<Vec<User>> = (0..CLIENTS).map(|_| Vec::new()).collect();
        for round in 0..kills {
            let mut writers = JoinSet::new();
            for (client, users) in users.drain(..).enumerate() {
                // Connections of their own: none outlives the process it was made to.
                let http = Http::new(daemon.http.base.clone()).with_token(token.clone());
                writers.spawn(write_until_dead(http, client, round, clock.clone(), users));
            }
            tokio::time::sleep(Duration::from_millis(50 + clock.below(700))).await;
            daemon.process().kill();
            while let Some(written) = writers.join_next().await {
                users.push(written.expect("a writer ends in good order"));
            }
            daemon.restart().await;
            let http = Http::new(daemon.http.base.clone()).with_token(token.clone());
            for users in &mut users {
                verify(&http, users).await;
            }
        }
        let written: usize = users.iter().map(Vec::len).sum();
        assert!(written > kills, "the story wrote only {written} users");
        eprintln!("{which:?}: {kills} kills, {written} users, none lost");
    })
    .await;
}

/// Sends what `bytes` says and hangs up without reading.
fn hang_up(port: u16, bytes: &[u8]) {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the daemon listens");
    stream.write_all(bytes).expect("sent");
}

#[tokio::test]
async fn b8_a_client_that_hangs_up_leaves_no_transaction() {
    both(async |which| {
        let daemon = Daemon::builder(which).config(CONFIG).start().await;
        let token = daemon.token(&["--source", "idp", "--scope", "scim"]);
        let http = daemon.http.with_token(token.clone());
        for n in 0..100 {
            let name = format!("hasty{n}@example.com");
            let body = json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                "userName": name, "displayName": "Hasty", "emails": [{"value": name}]
            })
            .to_string();
            let head = format!(
                "POST /scim/v2/Users HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
                 content-type: application/scim+json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            // In the middle of the body, at its end, and while it is being answered.
            let cut = if n % 3 == 0 { body.len() / 2 } else { body.len() };
            hang_up(daemon.port, &[head.as_bytes(), &body.as_bytes()[..cut]].concat());
            if n % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        let start = Instant::now();
        for n in 0..20 {
            let name = format!("patient{n}@example.com");
            let body = json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                "userName": name, "displayName": "Patient", "emails": [{"value": name}]
            });
            http.post("/scim/v2/Users", &body).await.expect(201);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "writers had to wait {:?}", start.elapsed());
        if which == Which::Postgres {
            no_open_transaction(&daemon.database).await;
        }
    })
    .await;
}

/// PostgreSQL says itself who has a transaction open and does nothing.
async fn no_open_transaction(url: &str) {
    let mut aside = PgConnection::connect(url).await.expect("a look from the side");
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    let start = Instant::now();
    loop {
        let open: i64 = sqlx::query_scalar(sql).fetch_one(&mut aside).await.expect("pg_stat_activity answers");
        if open == 0 {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{open} transactions stay open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
