//! GET and search: one resource, pages of them. A filter that the indexes answer whole is counted and paged by the
//! database; any other is decided by the evaluator over a bounded number of resources. Never writes.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value};

use super::ask::Ask;
use super::narrow::{Narrowed, narrow};
use super::{link, reply};
use crate::model::id::EntityId;
use crate::model::kind::Kind;
use crate::scim::error::Error;
use crate::scim::filter::{self, Filter};
use crate::scim::list::{self, Query};
use crate::scim::members::MEMBERS;
use crate::scim::project::Projection;
use crate::scim::schema::Shape;
use crate::scim::{eval, render};
use crate::store::scim as rows;
use crate::store::{Read, scim::Found};

/// Resources that one request may read to decide a filter.
const SCAN: usize = 20_000;
/// Resources that are read at once while scanning.
const STEP: u64 = 500;

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

/// A page over the resources of these types, one type after the other.
pub async fn list(ask: &Ask<'_>, shapes: &[&Shape], query: Query) -> Result<Response, Error> {
    let mut parts = Vec::with_capacity(shapes.len());
    let mut refused = None;
    for shape in shapes {
        // At the root a name that one type does not know excludes that type, not the question.
        match Part::of(shape, &query) {
            Ok(part) => parts.push(part),
            Err(error @ Error::Sensitive(_)) => return Err(error),
            Err(error) => refused = Some(error),
        }
    }
    if let (Some(error), true) = (refused, parts.is_empty()) {
        return Err(error);
    }
    let mut read = ask.app.db.read().await.map_err(reply::failed)?;
    let mut page = Page { skip: query.start_index - 1, left: query.count, total: 0, texts: Vec::new() };
    for part in &parts {
        part.fill(&mut read, ask, &mut page).await?;
    }
    Ok(reply::body(StatusCode::OK, list::response(page.total, query.start_index, &page.texts)))
}

/// A page in the making.
struct Page {
    skip: u64,
    left: u64,
    total: u64,
    texts: Vec<String>,
}

/// The question put to one type.
struct Part<'s> {
    shape: &'s Shape,
    filter: Option<Filter<'s>>,
    narrowed: Narrowed,
    projection: Projection,
}

impl<'s> Part<'s> {
    fn of(shape: &'s Shape, query: &Query) -> Result<Part<'s>, Error> {
        let filter = query.filter.as_deref().map(|text| filter::parse(shape, text)).transpose()?;
        let narrowed = narrow(shape.kind, filter.as_ref());
        query.sortable(shape)?;
        Ok(Part { shape, filter, narrowed, projection: Projection::read(shape, query)? })
    }

    async fn fill(&self, read: &mut Read, ask: &Ask<'_>, page: &mut Page) -> Result<(), Error> {
        match &self.filter {
            Some(filter) if !self.narrowed.exact => self.scan(read, ask, filter, page).await,
            _ => self.select(read, ask, page).await,
        }
    }

    /// The database counts and pages.
    async fn select(&self, read: &mut Read, ask: &Ask<'_>, page: &mut Page) -> Result<(), Error> {
        let sight = ask.sight(self.shape.kind);
        let cond = &self.narrowed.cond;
        let mut found = Vec::new();
        if page.left > 0 {
            found = rows::page(read, &sight, cond, page.skip, page.left).await.map_err(reply::failed)?;
        }
        let got = found.len() as u64;
        // A page that is not full shows the end, unless it is empty because it begins behind it.
        let seen_end = got < page.left && (got > 0 || page.skip == 0);
        let total =
            if seen_end { page.skip + got } else { rows::count(read, &sight, cond).await.map_err(reply::failed)? };
        self.render(read, ask, found, page).await?;
        page.total += total;
        page.skip = page.skip.saturating_sub(total);
        page.left -= got;
        Ok(())
    }

    /// The evaluator decides; the indexes only spare it what cannot be meant.
    async fn scan(&self, read: &mut Read, ask: &Ask<'_>, filter: &Filter<'_>, page: &mut Page) -> Result<(), Error> {
        let sight = ask.sight(self.shape.kind);
        let all = Projection::default();
        let mut last: Option<EntityId> = None;
        let mut looked = 0;
        loop {
            let step = rows::after(read, &sight, &self.narrowed.cond, last, STEP).await.map_err(reply::failed)?;
            looked += step.len();
            if looked > SCAN {
                return Err(Error::TooMany(format!(
                    "the filter would have to look at more than {SCAN} resources; ask for userName, externalId, id, emails.value or displayName"
                )));
            }
            let Some(end) = step.last().map(|found| found.id) else { return Ok(()) };
            last = Some(end);
            let full = step.len() as u64 == STEP;
            let links = self.wants_links(filter);
            for stored in
                if links { link::stored(read, ask, self.shape, &all, step.clone()).await? } else { bare(&step) }
            {
                if !eval::matches(filter, &render::value(self.shape, &ask.base, &stored)?) {
                    continue;
                }
                page.total += 1;
                if page.skip > 0 {
                    page.skip -= 1;
                } else if page.left > 0 {
                    page.left -= 1;
                    let meant: Vec<Found> =
                        step.iter().filter(|found| found.id.to_string() == stored.id).cloned().collect();
                    self.render(read, ask, meant, page).await?;
                }
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn wants_links(&self, filter: &Filter<'_>) -> bool {
        let name = if self.shape.kind == Kind::Group { MEMBERS } else { "groups" };
        mentions(filter, name)
    }

    async fn render(&self, read: &mut Read, ask: &Ask<'_>, found: Vec<Found>, page: &mut Page) -> Result<(), Error> {
        for stored in link::stored(read, ask, self.shape, &self.projection, found).await? {
            page.texts.push(render::resource(self.shape, &ask.base, &stored, &self.projection)?);
        }
        Ok(())
    }
}

fn bare(found: &[Found]) -> Vec<render::Stored> {
    found.iter().map(|found| link::one(found.clone(), Vec::new())).collect()
}

fn mentions(filter: &Filter<'_>, name: &str) -> bool {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(|part| mentions(part, name)),
        Filter::Not(inner) => mentions(inner, name),
        Filter::Present(place) | Filter::Compare(place, ..) | Filter::Element(place, _) => {
            place.extension.is_none() && place.attribute.name == name
        }
    }
}
