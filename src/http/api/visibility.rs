//! Who may see which ticket: `visibility/check`, `visibility/check-batch` and `users/{id}/tickets`. The rule is
//! `model::visibility`; every answer says why (`because`). An unknown user or ticket is an answer, not an error: a
//! helpdesk that asks must never show a ticket because of a 404. Start with `check`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::extract::{Body, Id, Params};
use super::{LONGEST_PAGE, unbound};
use crate::http::auth::Caller;
use crate::http::error::Problem;
use crate::http::state::App;
use crate::http::token::Scope;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};
use crate::model::time::Millis;
use crate::model::visibility::{Access, Answer, Because, Reason, blind, decide};
use crate::store::visibility;
use crate::store::{Session, names};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/visibility/check", post(check))
        .route("/visibility/check-batch", post(check_batch))
        .route("/users/{id}/tickets", get(tickets))
}

/// Most questions of one batch.
const MOST_CHECKS: usize = 1000;
const USUAL_PAGE: usize = 50;

/// `user`: id or login of a client; `ticket`, `company`: id or number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    user: String,
    ticket: String,
    company: Option<String>,
}

async fn check(
    State(app): State<App>,
    caller: Caller,
    Body(question): Body<Question>,
) -> Result<Json<Answer>, Problem> {
    caller.require(Scope::Visibility)?;
    unbound(&caller)?;
    let mut session = app.db.read().await?;
    let Question { user, ticket, company } = &question;
    let user = names::user(&mut session, Realm::Client, user).await?;
    let ticket = one(&mut session, Kind::Ticket, ticket).await?;
    let company = match within(&mut session, company.as_deref()).await? {
        Within::Nowhere => return Ok(Json(elsewhere())),
        Within::Anywhere => None,
        Within::Company(id) => Some(id),
    };
    let (viewer, subject) = match (user, ticket) {
        (Some(user), Some(ticket)) => visibility::facts(&mut session, user, ticket).await?,
        (Some(user), None) => (visibility::viewer(&mut session, user).await?, None),
        (None, _) => (None, None),
    };
    Ok(Json(decide(viewer.as_ref(), subject.as_ref(), company)))
}

/// Through a company that does not exist nothing is seen.
fn elsewhere() -> Answer {
    let because = Because { reason: Reason::OtherCompany, path: Vec::new() };
    Answer { visible: false, access: None, because }
}

/// What a question is narrowed to.
enum Within {
    Anywhere,
    Company(EntityId),
    /// A company that does not exist.
    Nowhere,
}

async fn within(session: &mut impl Session, company: Option<&str>) -> Result<Within, Problem> {
    let Some(company) = company else { return Ok(Within::Anywhere) };
    Ok(one(session, Kind::Company, company).await?.map_or(Within::Nowhere, Within::Company))
}

async fn one(session: &mut impl Session, kind: Kind, text: &str) -> Result<Option<EntityId>, Problem> {
    match names::numbered(session, kind, text).await?.as_slice() {
        [] => Ok(None),
        [id] => Ok(Some(*id)),
        _ => Err(Problem::conflict("ambiguous", format!("more than one {kind} has this number; ask by id"))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    checks: Vec<Check>,
}

/// In a batch everything is named by its id.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    /// The caller's own, unique in the batch.
    id: String,
    user: String,
    ticket: String,
    company: Option<String>,
}

#[derive(Serialize)]
struct Answers {
    answers: BTreeMap<String, Answer>,
}

async fn check_batch(
    State(app): State<App>,
    caller: Caller,
    Body(Batch { checks }): Body<Batch>,
) -> Result<Json<Answers>, Problem> {
    caller.require(Scope::Visibility)?;
    unbound(&caller)?;
    if checks.len() > MOST_CHECKS {
        let detail = format!("at most {MOST_CHECKS} checks in one call, these are {}", checks.len());
        return Err(Problem::bad_request("too_many", detail));
    }
    let distinct: BTreeSet<&str> = checks.iter().map(|check| check.id.as_str()).collect();
    if distinct.len() < checks.len() {
        return Err(Problem::bad_request("duplicate_id", "the ids of the checks must differ"));
    }
    let read = |text: &str| text.parse::<EntityId>().ok();
    let (mut named, mut unnamed) = (Vec::with_capacity(checks.len()), Vec::new());
    for check in &checks {
        match (read(&check.user), read(&check.ticket)) {
            (Some(user), Some(ticket)) => named.push((check, user, ticket)),
            _ => unnamed.push(check.id.as_str()),
        }
    }
    if !unnamed.is_empty() {
        let detail = format!("in a batch users and tickets are named by their ids; not so in: {}", unnamed.join(", "));
        return Err(Problem::bad_request("not_an_id", detail));
    }
    let ids: BTreeSet<EntityId> = named.iter().flat_map(|(_, user, ticket)| [*user, *ticket]).collect();
    let ids: Vec<EntityId> = ids.into_iter().collect();
    let things = visibility::things(&mut app.db.snapshot().await?, &ids).await?;
    // A user is no ticket: nothing is in both.
    let (mut viewers, mut subjects) = (HashMap::new(), HashMap::new());
    for (id, thing) in things {
        if thing.kind == Kind::User {
            viewers.extend(thing.viewer().map(|viewer| (id, viewer)));
        } else {
            subjects.insert(id, thing.subject());
        }
    }
    let answer = |check: &Check, user, ticket| match check.company.as_deref().map(read) {
        Some(None) => elsewhere(),
        company => decide(viewers.get(&user), subjects.get(&ticket), company.flatten()),
    };
    let answers =
        named.into_iter().map(|(check, user, ticket)| (check.id.clone(), answer(check, user, ticket))).collect();
    Ok(Json(Answers { answers }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    company: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
    /// `ticket` (default), `device` or `session`.
    kind: Option<Kind>,
}

#[derive(Serialize)]
struct Page {
    items: Vec<Item>,
    /// For `cursor`; absent on the last page. A page may be shorter than asked for and yet not be the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Why this account sees nothing at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<Because>,
}

#[derive(Serialize)]
struct Item {
    id: EntityId,
    created: Millis,
    access: Option<Access>,
    because: Because,
    attributes: Option<Box<RawValue>>,
}

async fn tickets(
    State(app): State<App>,
    caller: Caller,
    Id(user): Id,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Page>, Problem> {
    caller.require(Scope::Visibility)?;
    unbound(&caller)?;
    let limit = page_size(wanted.limit, USUAL_PAGE)?;
    let before = wanted.cursor.as_deref().map(cursor_of).transpose()?;
    let kind = wanted.kind.unwrap_or(Kind::Ticket);
    if !matches!(kind, Kind::Ticket | Kind::Device | Kind::Session) {
        return Err(Problem::bad_request("bad_query", "kind: ticket, device or session"));
    }
    let mut session = app.db.read().await?;
    let viewer = visibility::viewer(&mut session, user).await?.ok_or_else(Problem::not_found)?;
    let because = blind(&viewer).map(|reason| Because { reason, path: Vec::new() });
    let company = match within(&mut session, wanted.company.as_deref()).await? {
        Within::Nowhere => {
            let because = Some(elsewhere().because);
            return Ok(Json(Page { items: Vec::new(), next: None, because }));
        }
        Within::Anywhere => None,
        Within::Company(id) => Some(id),
    };
    let page = visibility::page(&mut session, &viewer, kind, company, before, limit).await?;
    let item = |seen: visibility::Seen| Item {
        id: seen.id,
        created: seen.at,
        access: seen.answer.access,
        because: seen.answer.because,
        attributes: seen.doc.and_then(|text| RawValue::from_string(text).ok()),
    };
    let items = page.seen.into_iter().map(item).collect();
    Ok(Json(Page { items, next: page.next.map(cursor_text), because }))
}

pub(super) fn page_size(asked: Option<usize>, usual: usize) -> Result<usize, Problem> {
    match asked {
        None => Ok(usual),
        Some(limit) if (1..=LONGEST_PAGE).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::bad_request("bad_query", format!("limit: 1 to {LONGEST_PAGE}"))),
    }
}

fn cursor_text((at, id): (Millis, EntityId)) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{id}", at.0))
}

fn cursor_of(text: &str) -> Result<(Millis, EntityId), Problem> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (at, id) = text.split_once('.')?;
        Some((Millis(at.parse().ok()?), id.parse().ok()?))
    };
    read().ok_or_else(|| Problem::bad_request("bad_cursor", "cursor: as given by `next` of the page before"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is() {
        let at = (Millis(-5), EntityId(uuid::Uuid::from_u128(7)));
        assert_eq!(cursor_of(&cursor_text(at)).unwrap(), at);
        for text in ["", "!", "MTIz", "MTIuNQ"] {
            assert_eq!(cursor_of(text).unwrap_err().code, "bad_cursor", "{text}");
        }
    }

    #[test]
    fn a_page_has_one_to_250_items() {
        assert_eq!(page_size(None, 50).unwrap(), 50);
        assert_eq!(page_size(Some(250), 50).unwrap(), 250);
        assert!(page_size(Some(0), 50).is_err() && page_size(Some(251), 50).is_err());
    }
}
