//! What a list is made of: stretches that follow each other. Where the indexes answer a filter whole and hold the order, the
//! database counts and pages; anything else is decided and ordered by the evaluator over a bounded number of resources.
//! Start with `plan`.

use std::collections::HashMap;

use tokio::task::yield_now;

use super::ask::Ask;
use super::narrow::{Narrowed, by_unique, narrow};
use super::{link, reply};
use crate::model::dialect::Mode;
use crate::model::entity;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};
use crate::model::order::{Key, Mark};
use crate::model::unique::Unique;
use crate::scim::error::Error;
use crate::scim::filter::{self, Filter};
use crate::scim::list::Query;
use crate::scim::project::Projection;
use crate::scim::schema::{Located, Shape};
use crate::scim::{eval, render, sort};
use crate::store::filter::{Arrange, By, Cond};
use crate::store::scim::{self as rows, Found, From, Sight};
use crate::store::{Read, Stamp};

/// Resources that one request may read to decide a filter or an order.
const SCAN: usize = 100_000;
/// Resources that are read at once while scanning.
const STEP: u64 = 500;
/// Resources that are judged before the others of this thread have their turn: a long filter takes its time with each.
const FEW: usize = 16;
/// Rows to walk over from which on whoever walks goes alone.
const FAR: u64 = 1000;

/// The question put to one type.
pub struct Part<'s> {
    pub shape: &'s Shape,
    pub projection: Projection,
    filter: Option<Filter<'s>>,
    narrowed: Narrowed,
    sort: Option<Sort<'s>>,
}

struct Sort<'s> {
    /// `None`: the type has no such attribute, so that its resources have no value.
    place: Option<Located<'s>>,
    descending: bool,
}

impl<'s> Part<'s> {
    /// At the root a name that one type does not know is an attribute without a value there; it has to be known to one of them.
    pub fn all(ask: &Ask<'_>, shapes: &[&'s Shape], query: &Query) -> Result<Vec<Part<'s>>, Error> {
        let uniques = ask.app.indexed();
        let parts = shapes.iter().map(|shape| Part::of(shape, shapes, query, ask.dialect.mode, &uniques));
        let mut parts = parts.collect::<Result<Vec<_>, Error>>()?;
        if let Some(asked) = &query.sort {
            let mut unknown = None;
            for part in &mut parts {
                let place = match sort::place(part.shape, &asked.by) {
                    Ok(place) => Some(place),
                    Err(error @ Error::Sensitive(_)) => return Err(error),
                    Err(error) => {
                        unknown = Some(error);
                        None
                    }
                };
                part.sort = Some(Sort { place, descending: asked.descending });
            }
            let known = parts.iter().any(|part| part.sort.as_ref().is_some_and(|sort| sort.place.is_some()));
            if let (Some(error), false) = (unknown, known) {
                return Err(error);
            }
        }
        Ok(parts)
    }

    fn of(
        shape: &'s Shape,
        all: &[&'s Shape],
        query: &Query,
        mode: Mode,
        uniques: &[Unique],
    ) -> Result<Part<'s>, Error> {
        let filter = query.filter.as_deref().map(|text| filter::parse_among(shape, all, text, mode)).transpose()?;
        let narrowed = by_unique(narrow(shape.kind, filter.as_ref()), shape, filter.as_ref(), uniques);
        Ok(Part { shape, filter, narrowed, sort: None, projection: Projection::read(shape, query)? })
    }

    /// The column that the asked order is kept in.
    fn column(&self) -> Option<Arrange> {
        let Some(sort) = &self.sort else { return Some(Arrange::BY_ID) };
        let place = sort.place.filter(|place| place.extension.is_none())?;
        let by = match (self.shape.kind, place.attribute.name.as_str(), place.sub.map(|sub| sub.name.as_str())) {
            (Kind::User, "userName", None) => By::Login,
            (_, "id", None) => By::Id,
            (_, "meta", Some("created")) => By::Created,
            (_, "meta", Some("lastModified")) => By::Modified,
            _ => return None,
        };
        Some(Arrange { by, descending: sort.descending })
    }

    /// Whether the filter or the order asks for memberships.
    fn wants_links(&self) -> bool {
        let name = self.shape.relation().map_or("groups", |relation| relation.name);
        let sorted = self.sort.as_ref().and_then(|sort| sort.place);
        self.filter.as_ref().is_some_and(|filter| mentions(filter, name)) || sorted.is_some_and(|place| is(place, name))
    }
}

/// A resource of a list, and the part that it belongs to.
#[derive(Debug, Clone)]
pub struct Row {
    pub part: usize,
    pub found: Found,
}

/// Where the rows of a stretch begin.
#[derive(Debug, Clone)]
pub enum Begin {
    Offset(u64),
    Behind(Mark),
}

/// Resources of a list that follow each other.
pub enum Stretch {
    /// The database counts, orders and pages.
    Selected { part: usize, cond: Cond, arrange: Arrange },
    /// Decided and ordered already.
    Gathered { places: Vec<Place>, descending: bool },
}

/// A resource that the filter means.
pub struct Place {
    part: usize,
    mark: Mark,
}

/// Several types in one order have it of nobody but the evaluator.
fn mixed(parts: &[Part<'_>]) -> bool {
    parts.len() > 1 && parts.iter().any(|part| part.sort.is_some())
}

/// Whether `plan` will look at many resources one by one.
pub fn scans(parts: &[Part<'_>]) -> bool {
    let gathers = |part: &Part<'_>| mixed(parts) || !part.narrowed.exact || part.column().is_none();
    parts.iter().any(|part| gathers(part) && !part.narrowed.is_few())
}

/// The stretches of the list, in its order.
pub async fn plan(read: &mut Read, ask: &Ask<'_>, parts: &[Part<'_>]) -> Result<Vec<Stretch>, Error> {
    if mixed(parts) {
        let every: Vec<usize> = (0..parts.len()).collect();
        return Ok(vec![gather(read, ask, parts, &every).await?]);
    }
    let mut stretches = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        match part.column().filter(|_| part.narrowed.exact) {
            Some(arrange) => stretches.extend(selected(at, part, arrange)),
            None => stretches.push(gather(read, ask, parts, &[at]).await?),
        }
    }
    Ok(stretches)
}

/// Who has no login stands last, or first where the order descends.
fn selected(at: usize, part: &Part<'_>, arrange: Arrange) -> Vec<Stretch> {
    let cond = &part.narrowed.cond;
    if arrange.by != By::Login {
        return vec![Stretch::Selected { part: at, cond: cond.clone(), arrange }];
    }
    let of = |has: bool, by: By| {
        let cond = Cond::All(vec![cond.clone(), Cond::HasLogin(has)]);
        Stretch::Selected { part: at, cond, arrange: Arrange { by, ..arrange } }
    };
    let mut both = vec![of(true, By::Login), of(false, By::Id)];
    if arrange.descending {
        both.reverse();
    }
    both
}

/// The evaluator decides and orders; the indexes only spare it what cannot be meant.
async fn gather(read: &mut Read, ask: &Ask<'_>, parts: &[Part<'_>], which: &[usize]) -> Result<Stretch, Error> {
    let mut places = Vec::new();
    let mut descending = false;
    let mut looked = 0;
    for (at, part) in which.iter().map(|at| (*at, &parts[*at])) {
        descending = part.sort.as_ref().is_some_and(|sort| sort.descending);
        scan(read, ask, (at, part), &mut looked, &mut places).await?;
    }
    places.sort_by(|a, b| a.mark.compare(&b.mark, descending));
    Ok(Stretch::Gathered { places, descending })
}

async fn scan(
    read: &mut Read,
    ask: &Ask<'_>,
    (at, part): (usize, &Part<'_>),
    looked: &mut usize,
    places: &mut Vec<Place>,
) -> Result<(), Error> {
    let sight = ask.sight(part.shape.kind);
    let cond = &part.narrowed.cond;
    let all = Projection::default();
    let links = part.wants_links();
    let by = part.sort.as_ref().and_then(|sort| sort.place);
    let mut from = From::Offset(0);
    loop {
        let step = rows::page(read, &sight, cond, Arrange::BY_ID, &from, STEP).await.map_err(reply::failed)?;
        *looked += step.len();
        if *looked > SCAN {
            return Err(Error::TooMany(format!(
                "the question would have to look at more than {SCAN} resources; filter by userName, externalId, id, \
                 emails.value or displayName, and sort by userName, id, meta.created or meta.lastModified"
            )));
        }
        let Some(end) = step.last().map(|found| found.id) else { return Ok(()) };
        from = From::Behind(Mark::of_id(end));
        let full = step.len() as u64 == STEP;
        let ids: Vec<EntityId> = step.iter().map(|found| found.id).collect();
        let stored = if links {
            link::stored(read, ask, part.shape, &all, step).await?
        } else {
            step.into_iter().map(|found| link::one(found, Vec::new())).collect()
        };
        for (n, (id, stored)) in ids.into_iter().zip(stored).enumerate() {
            if n % FEW == 0 {
                yield_now().await;
            }
            let resource = render::value(part.shape, &ask.base, &stored)?;
            if part.filter.as_ref().is_none_or(|filter| eval::matches(filter, &resource)) {
                let key = by.and_then(|place| sort::key(place, &resource));
                places.push(Place { part: at, mark: Mark { key, id } });
            }
        }
        if !full {
            return Ok(());
        }
    }
}

impl Stretch {
    pub async fn count(&self, read: &mut Read, ask: &Ask<'_>, parts: &[Part<'_>]) -> Result<u64, Error> {
        match self {
            Stretch::Selected { part, cond, arrange } => {
                let choice = Choice { sight: ask.sight(parts[*part].shape.kind), cond, arrange: *arrange };
                let Some((list, stamp)) = choice.whole(read, ask).await? else {
                    return rows::count(read, &choice.sight, cond).await.map_err(reply::failed);
                };
                let places = &ask.app.places;
                if let Some(total) = places.total(&list, &stamp) {
                    return Ok(total);
                }
                let _alone = places.walk().await;
                if let Some(total) = places.total(&list, &stamp) {
                    return Ok(total);
                }
                let total = rows::count(read, &choice.sight, cond).await.map_err(reply::failed)?;
                places.counted(&list, &stamp, total);
                Ok(total)
            }
            Stretch::Gathered { places, .. } => Ok(places.len() as u64),
        }
    }

    /// At most `limit` of them.
    pub async fn rows(
        &self,
        read: &mut Read,
        ask: &Ask<'_>,
        parts: &[Part<'_>],
        begin: &Begin,
        limit: u64,
    ) -> Result<Vec<Row>, Error> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        match self {
            Stretch::Selected { part, cond, arrange } => {
                let choice = Choice { sight: ask.sight(parts[*part].shape.kind), cond, arrange: *arrange };
                let found = match begin {
                    Begin::Offset(offset) => selected_at(read, ask, &choice, *offset, limit).await?,
                    Begin::Behind(mark) => {
                        let from = From::Behind(mark.clone());
                        rows::page(read, &choice.sight, cond, *arrange, &from, limit).await.map_err(reply::failed)?
                    }
                };
                Ok(found.into_iter().map(|found| Row { part: *part, found }).collect())
            }
            Stretch::Gathered { places, descending } => {
                let first = match begin {
                    Begin::Offset(offset) => usize::try_from(*offset).unwrap_or(usize::MAX),
                    Begin::Behind(mark) => {
                        places.partition_point(|place| place.mark.compare(mark, *descending).is_le())
                    }
                };
                let chosen = places.get(first..).unwrap_or_default();
                load(read, ask, parts, &chosen[..chosen.len().min(limit as usize)]).await
            }
        }
    }

    /// The place of one of its rows.
    pub fn mark(&self, parts: &[Part<'_>], row: &Row) -> Result<Mark, Error> {
        let found = &row.found;
        match self {
            Stretch::Selected { arrange, .. } => {
                let key = match arrange.by {
                    By::Id => None,
                    By::Created => Some(Key::Time(found.created)),
                    By::Modified => Some(Key::Time(found.modified)),
                    By::Login => Some(Key::Text(login(parts[row.part].shape.kind, found).ok_or(Error::Internal)?)),
                };
                Ok(Mark { key, id: found.id })
            }
            Stretch::Gathered { places, .. } => {
                let place = places.iter().find(|place| place.mark.id == found.id).ok_or(Error::Internal)?;
                Ok(place.mark.clone())
            }
        }
    }
}

/// What is chosen of what the caller sees, and its order.
struct Choice<'a> {
    sight: Sight<'a>,
    cond: &'a Cond,
    arrange: Arrange,
}

impl Choice<'_> {
    /// The name of a whole list in the order of ids, and its state now. Any other list changes by more than coming and going.
    async fn whole(&self, read: &mut Read, ask: &Ask<'_>) -> Result<Option<(String, Stamp)>, Error> {
        if *self.cond != Cond::All(Vec::new()) || self.arrange.by != By::Id {
            return Ok(None);
        }
        let Sight { source, kind, realm, own_only } = self.sight;
        let realm = realm.map_or("", Realm::as_str);
        let name = format!("{source} {kind} {realm} {own_only} {}", self.arrange.descending);
        Ok(Some((name, ask.app.db.stamp(read).await.map_err(reply::failed)?)))
    }
}

/// A page that begins so far in: of a whole list from the nearest place that was passed before.
async fn selected_at(
    read: &mut Read,
    ask: &Ask<'_>,
    choice: &Choice<'_>,
    offset: u64,
    limit: u64,
) -> Result<Vec<Found>, Error> {
    let list = choice.whole(read, ask).await?;
    let nearest = || list.as_ref().and_then(|(list, stamp)| ask.app.places.nearest(list, stamp, offset));
    let far = |near: &Option<(u64, Mark)>| offset - near.as_ref().map_or(0, |(at, _)| *at) > FAR;
    let mut near = nearest();
    let alone = if list.is_some() && far(&near) { Some(ask.app.places.walk().await) } else { None };
    if alone.is_some() {
        near = nearest();
    }
    // One more before the page, so that the next one who begins here need not walk.
    let ahead = u64::from(list.is_some() && offset > 0 && near.as_ref().is_none_or(|(at, _)| *at < offset));
    let from = match near {
        Some((at, mark)) if at == offset => From::Behind(mark),
        Some((at, mark)) => From::Beyond(mark, offset - ahead - at),
        None => From::Offset(offset - ahead),
    };
    let size = limit.saturating_add(ahead);
    let mut found =
        rows::page(read, &choice.sight, choice.cond, choice.arrange, &from, size).await.map_err(reply::failed)?;
    if let Some((list, stamp)) = &list {
        if ahead > 0 && !found.is_empty() {
            let before = found.remove(0);
            ask.app.places.passed(list, stamp, offset, Mark::of_id(before.id));
        }
        if let Some(last) = found.last() {
            ask.app.places.passed(list, stamp, offset + found.len() as u64, Mark::of_id(last.id));
        }
    }
    Ok(found)
}

/// The rows at these places, in their order.
async fn load(read: &mut Read, ask: &Ask<'_>, parts: &[Part<'_>], places: &[Place]) -> Result<Vec<Row>, Error> {
    let mut found = HashMap::with_capacity(places.len());
    for (at, part) in parts.iter().enumerate() {
        let ids: Vec<EntityId> = places.iter().filter(|place| place.part == at).map(|place| place.mark.id).collect();
        for row in rows::of_ids(read, &ask.sight(part.shape.kind), &ids).await.map_err(reply::failed)? {
            found.insert(row.id, Row { part: at, found: row });
        }
    }
    Ok(places.iter().filter_map(|place| found.remove(&place.mark.id)).collect())
}

/// The column, made of the document once more.
fn login(kind: Kind, found: &Found) -> Option<String> {
    entity::login_key(kind, &serde_json::from_str(&found.doc).ok()?)
}

fn is(place: Located<'_>, name: &str) -> bool {
    place.extension.is_none() && place.attribute.name == name
}

fn mentions(filter: &Filter<'_>, name: &str) -> bool {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(|part| mentions(part, name)),
        Filter::Not(inner) => mentions(inner, name),
        Filter::Fixed(_) => false,
        Filter::Present(place) | Filter::Compare(place, ..) | Filter::Element(place, _) => is(*place, name),
    }
}
