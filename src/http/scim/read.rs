//! GET and search: one resource, pages of them. What a list is made of stands in `stretch`; here it is cut into pages, by
//! index or by cursor (RFC 9865). Never writes.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value};
use tokio::sync::SemaphorePermit;

use super::ask::Ask;
use super::stretch::{Begin, Part, Row, Stretch, plan, scans};
use super::{link, reply};
use crate::credential::seal::Sealer;
use crate::scim::cursor::{self, Cursor};
use crate::scim::error::Error;
use crate::scim::list::{self, Paging, Query};
use crate::scim::project::Projection;
use crate::scim::render;
use crate::scim::schema::Shape;
use crate::store::Read;
use crate::store::scim as rows;

pub async fn one(ask: &Ask<'_>, shape: &Shape, id: &str) -> Result<Response, Error> {
    let projection = Projection::read(shape, &ask.query()?)?;
    let id = id.parse().map_err(|_| Error::NotFound)?;
    let mut read = ask.app.db.read().await.map_err(reply::failed)?;
    let found = rows::load(&mut read, &ask.sight(shape.kind), id).await.map_err(reply::failed)?;
    let found = found.ok_or(Error::NotFound)?;
    let (location, etag) = (render::location(shape, &ask.base, &id.to_string()), render::etag(found.version));
    if ask.has(found.version) {
        return Ok(reply::of(reply::empty(StatusCode::NOT_MODIFIED), &location, &etag));
    }
    let stored = link::stored(&mut read, ask, shape, &projection, vec![found]).await?.pop().ok_or(Error::Internal)?;
    let text = render::resource(shape, &ask.base, &stored, &projection)?;
    Ok(reply::of(reply::body(StatusCode::OK, text), &location, &etag))
}

pub async fn search(ask: &Ask<'_>, shapes: &[&Shape], body: &Map<String, Value>) -> Result<Response, Error> {
    list(ask, shapes, Query::from_search(body)?).await
}

/// A page over the resources of these types: one type after the other, or all in one order.
pub async fn list(ask: &Ask<'_>, shapes: &[&Shape], query: Query) -> Result<Response, Error> {
    let parts = Part::all(ask, shapes, &query)?;
    let text = match &query.cursor {
        None => by_index(ask, &parts, &query).await?,
        Some(text) => by_cursor(ask, shapes, &parts, &query, text).await?,
    };
    Ok(reply::body(StatusCode::OK, text))
}

async fn by_index(ask: &Ask<'_>, parts: &[Part<'_>], query: &Query) -> Result<String, Error> {
    let (_turn, mut read) = begin(ask, parts).await?;
    let (mut skip, mut left, mut total) = (query.start_index() - 1, query.size(), 0);
    let mut page = Vec::new();
    for stretch in plan(&mut read, ask, parts).await? {
        let got = stretch.rows(&mut read, ask, parts, &Begin::Offset(skip), left).await?;
        let taken = got.len() as u64;
        // A page that is not full shows the end, unless it is empty because it begins behind it.
        let seen_end = taken < left && (taken > 0 || skip == 0);
        let all = if seen_end { skip + taken } else { stretch.count(&mut read, ask, parts).await? };
        total += all;
        skip = skip.saturating_sub(all);
        left -= taken;
        page.extend(got);
    }
    let texts = texts(&mut read, ask, parts, page).await?;
    Ok(list::response(total, Paging::Index(query.start_index()), &texts))
}

/// A connection, and the turn of those who will look at each resource.
async fn begin<'a>(ask: &'a Ask<'_>, parts: &[Part<'_>]) -> Result<(Option<SemaphorePermit<'a>>, Read), Error> {
    let turn = if scans(parts) { ask.app.places.scan().await } else { None };
    Ok((turn, ask.app.db.read().await.map_err(reply::failed)?))
}

/// Nothing is kept between two pages: the cursor says where the next one begins.
async fn by_cursor(
    ask: &Ask<'_>,
    shapes: &[&Shape],
    parts: &[Part<'_>],
    query: &Query,
    text: &str,
) -> Result<String, Error> {
    cursor::check(query)?;
    let sealer = ask.app.sealer().await.map_err(reply::failed)?;
    let about = about(ask, shapes, query)?;
    let now = ask.app.clock.now();
    let began =
        if text.is_empty() { None } else { Some(Cursor::decode(sealer.open(&about, text).as_deref(), query, now)?) };
    let (_turn, mut read) = begin(ask, parts).await?;
    let stretches = plan(&mut read, ask, parts).await?;
    let (total, size, first) = match &began {
        Some(cursor) => (cursor.total, cursor.count, cursor.stretch),
        None => (count(&mut read, ask, parts, &stretches).await?, query.size(), 0),
    };
    // One more than the page shows whether there is a next one.
    let mut left = if size == 0 { 0 } else { size + 1 };
    let mut begin = began.map_or(Begin::Offset(0), |cursor| Begin::Behind(cursor.mark));
    let mut page = Vec::new();
    for (at, stretch) in stretches.iter().enumerate().skip(first) {
        if left == 0 {
            break;
        }
        let got = stretch.rows(&mut read, ask, parts, &begin, left).await?;
        left -= got.len() as u64;
        page.extend(got.into_iter().map(|row| (at, row)));
        begin = Begin::Offset(0);
    }
    let next = if page.len() as u64 > size {
        page.truncate(size as usize);
        let last = page.last().ok_or(Error::Internal)?;
        let mark = stretches[last.0].mark(parts, &last.1)?;
        let cursor = Cursor { count: size, made: now, total, stretch: last.0, mark };
        Some(next(ask, sealer, &about, &cursor)?)
    } else {
        None
    };
    let page = page.into_iter().map(|(_, row)| row).collect();
    let texts = texts(&mut read, ask, parts, page).await?;
    Ok(list::response(total, Paging::Cursor(next.as_deref()), &texts))
}

fn next(ask: &Ask<'_>, sealer: &Sealer, about: &str, cursor: &Cursor) -> Result<String, Error> {
    sealer.seal(&ask.app.clock, about, &cursor.encode()).ok_or(Error::Internal)
}

/// The question that a cursor belongs to: whoever asks, and everything asked but the place.
fn about(ask: &Ask<'_>, shapes: &[&Shape], query: &Query) -> Result<String, Error> {
    let endpoints: Vec<&str> = shapes.iter().map(|shape| shape.endpoint.as_str()).collect();
    let sort = query.sort.as_ref().map(|sort| (&sort.by, sort.descending));
    let question = (&ask.policy.name, endpoints, &query.filter, sort, &query.attributes, &query.excluded);
    serde_json::to_string(&question).map_err(|_| Error::Internal)
}

async fn count(read: &mut Read, ask: &Ask<'_>, parts: &[Part<'_>], stretches: &[Stretch]) -> Result<u64, Error> {
    let mut total = 0;
    for stretch in stretches {
        total += stretch.count(read, ask, parts).await?;
    }
    Ok(total)
}

/// The resources of a page as text, in its order: memberships are loaded once for each type.
async fn texts(read: &mut Read, ask: &Ask<'_>, parts: &[Part<'_>], page: Vec<Row>) -> Result<Vec<String>, Error> {
    let mut texts = vec![String::new(); page.len()];
    let mut places = vec![Vec::new(); parts.len()];
    let mut found = vec![Vec::new(); parts.len()];
    for (place, row) in page.into_iter().enumerate() {
        places[row.part].push(place);
        found[row.part].push(row.found);
    }
    for ((part, places), found) in parts.iter().zip(places).zip(found) {
        let stored = link::stored(read, ask, part.shape, &part.projection, found).await?;
        for (place, stored) in places.into_iter().zip(stored) {
            texts[place] = render::resource(part.shape, &ask.base, &stored, &part.projection)?;
        }
    }
    Ok(texts)
}
