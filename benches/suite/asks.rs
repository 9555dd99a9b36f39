//! What any SCIM server is asked for, in the same words: the requests of P5, P7, P8, P9 and P10, and what must be there
//! before them. Knows no server by name and judges nothing. Start at `Question`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::generator;
use crate::load::{self, Connection, Outcome, request, request_with};

/// Resources on a page.
pub const PAGE: u64 = 100;
/// Clients of everything that does not say otherwise.
pub const CLIENTS: u64 = 16;
/// Members that one PATCH brings into a group.
const HANDFUL: usize = 1000;
/// As providers ask that change many groups.
const MINIMAL: &str = "prefer: return=minimal\r\n";

/// Where a server listens, and as whom.
#[derive(Clone)]
pub struct Service {
    pub port: u16,
    /// Before `/Users`.
    pub prefix: &'static str,
    pub token: String,
}

impl Service {
    pub fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        request(method, &format!("{}{path}", self.prefix), &self.token, body)
    }

    /// One answer of JSON.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let mut answer = Vec::new();
        let mut connection = Connection::open(self.port).await?;
        let status = connection.call(&self.request(method, path, body), &mut answer).await?;
        let text = String::from_utf8_lossy(&answer);
        anyhow::ensure!((200..300).contains(&status), "{method} {path}: {status} {}", &text[..text.len().min(300)]);
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// People that are there.
    pub async fn total(&self) -> anyhow::Result<u64> {
        let page = self.call("GET", "/Users?startIndex=1&count=1", "").await?;
        page["totalResults"].as_u64().context("a list has its totalResults")
    }
}

/// What is there to be asked for.
pub struct Present {
    /// Of users 0, 1, 2 …
    pub ids: Arc<Vec<String>>,
    /// From here on no user was ever made.
    pub spare: u64,
    pub group: Option<Group>,
}

/// Its members are the first so many users.
#[derive(Clone)]
pub struct Group {
    pub id: String,
    pub members: u64,
}

impl Present {
    pub fn new(spare: u64) -> Present {
        Present { ids: Arc::default(), spare, group: None }
    }

    /// Numbers of users that nobody else makes.
    pub fn take_spare(&mut self) -> u64 {
        self.spare += 10_000_000;
        self.spare - 10_000_000
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Question {
    /// With so many clients.
    Post(u64),
    Get,
    Patch,
    /// The attribute.
    Filter(&'static str),
    /// Nine tenths in, or the first.
    Page {
        deep: bool,
    },
    /// A group loses a member and gets it back.
    Member,
}

impl Question {
    /// Reads first: what writes leave behind belongs to no size.
    pub const ALL: [Question; 11] = [
        Question::Get,
        Question::Filter("userName"),
        Question::Filter("externalId"),
        Question::Filter("emails.value"),
        Question::Page { deep: false },
        Question::Page { deep: true },
        Question::Patch,
        Question::Post(1),
        Question::Post(16),
        Question::Post(64),
        Question::Member,
    ];

    pub fn row(self) -> &'static str {
        match self {
            Question::Post(_) => "P5",
            Question::Get | Question::Patch => "P7",
            Question::Filter(_) => "P8",
            Question::Page { .. } => "P9",
            Question::Member => "P10",
        }
    }

    pub fn what(self) -> String {
        match self {
            Question::Post(1) => "POST user, 1 client".to_owned(),
            Question::Post(clients) => format!("POST user, {clients} clients"),
            Question::Get => format!("GET user by id, {CLIENTS} clients"),
            Question::Patch => format!("PATCH one attribute, {CLIENTS} clients"),
            Question::Filter(attribute) => format!("filter {attribute} eq, {CLIENTS} clients"),
            Question::Page { deep: false } => format!("first page of {PAGE} by startIndex, {CLIENTS} clients"),
            Question::Page { deep: true } => format!("page of {PAGE} nine tenths in by startIndex, {CLIENTS} clients"),
            Question::Member => format!("PATCH group by one member, {CLIENTS} clients"),
        }
    }

    pub async fn ask(self, service: &Service, present: &mut Present, time: Duration) -> anyhow::Result<Outcome> {
        let outcome = match self {
            Question::Post(clients) => posts(service, present, clients, time).await,
            Question::Get => gets(service, present, time).await,
            Question::Patch => patches(service, present, time).await,
            Question::Filter(attribute) => filters(service, present, attribute, CLIENTS, time).await,
            Question::Page { deep } => pages(service, deep, time).await?,
            Question::Member => members(service, present, time).await?,
        };
        outcome.sound(&self.what())
    }
}

/// Any id of the list.
pub fn any(ids: &[String], stream: u64, n: u64) -> &str {
    &ids[generator::below(stream, n, ids.len() as u64) as usize]
}

async fn posts(service: &Service, present: &mut Present, clients: u64, time: Duration) -> Outcome {
    let (asker, first) = (service.clone(), present.take_spare());
    let make = move |client: u64, n: u64| {
        asker.request("POST", "/Users", &generator::user(first + client + n * clients).to_string())
    };
    load::run(service.port, clients, time, &[201], make).await
}

async fn gets(service: &Service, present: &Present, time: Duration) -> Outcome {
    let (asker, ids) = (service.clone(), present.ids.clone());
    let make = move |client: u64, n: u64| asker.request("GET", &format!("/Users/{}", any(&ids, 60 + client, n)), "");
    load::run(service.port, CLIENTS, time, &[200], make).await
}

async fn patches(service: &Service, present: &Present, time: Duration) -> Outcome {
    let (asker, ids) = (service.clone(), present.ids.clone());
    let make = move |client: u64, n: u64| {
        asker.request("PATCH", &format!("/Users/{}", any(&ids, 80 + client, n)), &title(&format!("T{client} {n}")))
    };
    load::run(service.port, CLIENTS, time, &[200, 204], make).await
}

/// A PATCH of one attribute.
pub fn title(text: &str) -> String {
    patch(&json!({"op": "replace", "path": "title", "value": text}))
}

fn patch(operation: &Value) -> String {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}).to_string()
}

/// Look-ups by one attribute, each of another user.
pub async fn filters(
    service: &Service,
    present: &Present,
    attribute: &'static str,
    clients: u64,
    time: Duration,
) -> Outcome {
    let (asker, size) = (service.clone(), present.ids.len() as u64);
    let make = move |client: u64, n: u64| {
        asker.request("GET", &filter(attribute, generator::below(100 + client, n, size)), "")
    };
    load::run(service.port, clients, time, &[200], make).await
}

/// The path that finds a user of the generator by this attribute.
pub fn filter(attribute: &str, number: u64) -> String {
    let user = generator::user(number);
    let value = match attribute {
        "emails.value" => &user["emails"][0]["value"],
        plain => &user[plain],
    };
    let filter = format!("{attribute} eq {value}").replace(' ', "%20").replace('"', "%22");
    format!("/Users?filter={filter}")
}

async fn pages(service: &Service, deep: bool, time: Duration) -> anyhow::Result<Outcome> {
    let total = service.total().await?;
    // Whoever begins in the middle of a list pays for it once; that is no part of the rate of pages.
    if deep {
        service.call("GET", &format!("/Users?startIndex={}&count={PAGE}", deep_start(total, 0, 0)), "").await?;
    }
    let asker = service.clone();
    let make = move |client: u64, n: u64| {
        let start = if deep { deep_start(total, client, n) } else { 1 };
        asker.request("GET", &format!("/Users?startIndex={start}&count={PAGE}"), "")
    };
    Ok(load::run(service.port, CLIENTS, time, &[200], make).await)
}

/// Page by page through the last tenth, as clients turn them.
pub fn deep_start(total: u64, client: u64, n: u64) -> u64 {
    total * 9 / 10 + 1 + PAGE * ((client + n) % (total / 10 / PAGE).max(1))
}

async fn members(service: &Service, present: &Present, time: Duration) -> anyhow::Result<Outcome> {
    let Group { id, members } = present.group.clone().context("a group was made")?;
    let (asker, ids, path) = (service.clone(), present.ids.clone(), format!("{}/Groups/{id}", service.prefix));
    // Every client has members of its own: first without one, then with it again.
    let make = move |client: u64, n: u64| {
        let member = &ids[(client + CLIENTS * generator::below(160 + client, n / 2, members / CLIENTS)) as usize];
        let operation = if n.is_multiple_of(2) {
            json!({"op": "remove", "path": format!("members[value eq \"{member}\"]")})
        } else {
            json!({"op": "add", "path": "members", "value": [{"value": member}]})
        };
        request_with("PATCH", &path, &asker.token, MINIMAL, &patch(&operation))
    };
    Ok(load::run(service.port, CLIENTS, time, &[200, 204], make).await)
}

/// Creates users until `size` are there.
pub async fn fill(service: &Service, size: u64, clients: u64, present: &mut Present) -> anyhow::Result<()> {
    let from = present.ids.len() as u64;
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let service = service.clone();
        tasks.spawn(async move {
            let (mut made, mut body) = (Vec::new(), Vec::new());
            let mut connection = Connection::open(service.port).await?;
            for number in (from + client..size).step_by(clients as usize) {
                let post = service.request("POST", "/Users", &generator::user(number).to_string());
                let status = connection.call(&post, &mut body).await?;
                anyhow::ensure!(status == 201, "POST of user {number}: {status} {}", String::from_utf8_lossy(&body));
                made.push((number, id(&serde_json::from_slice(&body)?)?));
            }
            anyhow::Ok(made)
        });
    }
    let mut ids = Arc::unwrap_or_clone(std::mem::take(&mut present.ids));
    ids.resize(size.max(from) as usize, String::new());
    while let Some(made) = tasks.join_next().await {
        for (number, id) in made?? {
            ids[number as usize] = id;
        }
    }
    present.ids = Arc::new(ids);
    Ok(())
}

fn id(answer: &Value) -> anyhow::Result<String> {
    Ok(answer["id"].as_str().context("what was made has an id")?.to_owned())
}

/// Makes a group of the first `members` users, a handful at a time.
pub async fn make_group(service: &Service, members: u64, present: &mut Present) -> anyhow::Result<()> {
    let listed = |ids: &[String]| -> Value { ids.iter().map(|id| json!({"value": id})).collect() };
    let mut parts = present.ids[..members as usize].chunks(HANDFUL);
    let first = parts.next().unwrap_or_default();
    let schemas = ["urn:ietf:params:scim:schemas:core:2.0:Group"];
    let group = json!({"schemas": schemas, "displayName": format!("Group of {members}"), "members": listed(first)});
    let group = id(&service.call("POST", "/Groups", &group.to_string()).await?)?;
    let (path, mut connection) = (format!("{}/Groups/{group}", service.prefix), Connection::open(service.port).await?);
    let mut body = Vec::new();
    for part in parts {
        let operation = json!({"op": "add", "path": "members", "value": listed(part)});
        let request = request_with("PATCH", &path, &service.token, MINIMAL, &patch(&operation));
        let status = connection.call(&request, &mut body).await?;
        anyhow::ensure!(matches!(status, 200 | 204), "members: {status} {}", String::from_utf8_lossy(&body));
    }
    present.group = Some(Group { id: group, members });
    Ok(())
}
