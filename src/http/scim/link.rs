//! Rows of the store -> what `scim::render` shows: the resource and its memberships, loaded for a whole page in one
//! statement, and only where the answer shows them.

use std::collections::HashMap;

use serde_json::Value;

use super::ask::Ask;
use super::reply::failed;
use crate::model::id::EntityId;
use crate::model::kind::Kind;
use crate::scim::error::Error;
use crate::scim::project::Projection;
use crate::scim::render::{self, Link, Stored};
use crate::scim::schema::{Relation, Shape};
use crate::store::Session;
use crate::store::scim::{self, Found, Member, Sight};

/// The resources with their groups or members, if these are shown.
pub async fn stored(
    session: &mut impl Session,
    ask: &Ask<'_>,
    shape: &Shape,
    projection: &Projection,
    found: Vec<Found>,
) -> Result<Vec<Stored>, Error> {
    let ids = |wanted: fn(&Found) -> bool| -> Vec<EntityId> {
        found.iter().filter(|found| wanted(found)).map(|found| found.id).collect()
    };
    let mut links = match shape.kind {
        Kind::User if projection.shows("groups") => groups(session, ask, &ids(|found| found.in_group)).await?,
        _ => match shape.relation().filter(|relation| projection.shows(relation.name)) {
            Some(relation) => members(session, ask, relation, &ids(|_| true)).await?,
            None => HashMap::new(),
        },
    };
    Ok(found
        .into_iter()
        .map(|found| {
            let links = links.remove(&found.id).unwrap_or_default();
            one(found, links)
        })
        .collect())
}

pub fn one(found: Found, links: Vec<Link>) -> Stored {
    Stored {
        id: found.id.to_string(),
        doc: found.doc,
        active: found.active,
        external_id: found.external_id,
        version: found.version,
        created: found.created,
        modified: found.modified,
        links,
    }
}

type Links = HashMap<EntityId, Vec<Link>>;

async fn groups(session: &mut impl Session, ask: &Ask<'_>, users: &[EntityId]) -> Result<Links, Error> {
    let mut links = Links::new();
    if users.is_empty() {
        return Ok(links);
    }
    for of in scim::groups(session, &ask.sight(Kind::Group), users).await.map_err(failed)? {
        let said = if of.direct { "direct" } else { "indirect" };
        let link = Link {
            id: of.group.to_string(),
            display: render::display_name(&of.doc),
            kind: Some(Kind::Group),
            said: Some(said.to_owned()),
        };
        links.entry(of.user).or_default().push(link);
    }
    Ok(links)
}

async fn members(
    session: &mut impl Session,
    ask: &Ask<'_>,
    relation: &Relation,
    groups: &[EntityId],
) -> Result<Links, Error> {
    let mut links = Links::new();
    if groups.is_empty() {
        return Ok(links);
    }
    for member in scim::members(session, &ends(ask, relation), relation.rel, groups, u64::MAX).await.map_err(failed)? {
        links.entry(member.group).or_default().push(link(member));
    }
    Ok(links)
}

/// How the caller sees what may be at the far end.
pub fn ends<'a>(ask: &'a Ask<'_>, relation: &Relation) -> Vec<Sight<'a>> {
    relation.ends.iter().map(|kind| ask.sight(*kind)).collect()
}

/// What the client said of the name is shown again; nothing else is loaded of a member.
pub fn link(member: Member) -> Link {
    let said: Value = member.attributes.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let text = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
    Link { id: member.value, display: text("display"), kind: member.kind, said: text("type") }
}
