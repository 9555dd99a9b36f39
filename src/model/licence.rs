//! Who may have which licence. What a source wants and what a person holds are two things: a wish that cannot be granted
//! stays a wish with all its reasons, and what is held stays held (R94).
//!
//! Pure: seats are counted by `reconcile::licence`; the products and moves are data (`catalogue`). Start with `decide`.

use std::collections::BTreeSet;

use serde::Serialize;

use super::catalogue::{Catalogue, Licence, Product};
use super::kind::words;

words! {
    /// State of the licence of one person. The words stand in table `licence`.
    LicenceState {
        Active = "active",
        /// The pool is empty; first come, first served.
        Waiting = "waiting",
        /// A service is missing, the tier is another one, or the account may hold none.
        Blocked = "blocked",
        TransitionNotAllowed = "transition_not_allowed",
        /// Deactivated for longer than the grace period: the seat is somebody else's.
        Reclaimed = "reclaimed",
    }
}

/// Why a wish is not granted. All that apply are given together (R48).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refusal {
    /// Not in the catalogue.
    UnknownLicence { wanted: String, allowed: Vec<String> },
    /// All of them (R24).
    MissingService { services: BTreeSet<String> },
    /// The wanted tier is not the company's (R21). `company` is absent where it has none.
    TierMismatch { wanted: String, company: Option<String> },
    /// `allowed`: where this person may go instead, on the company's tier.
    TransitionNotAllowed { from: String, to: String, allowed: Vec<String> },
    /// A client takes no licence (R1).
    NotAnAgent,
    /// The account lacks what its profile needs (R5).
    Incomplete,
    /// The account is deactivated.
    Inactive,
    /// All seats are taken; the wish waits.
    PoolEmpty { product: String },
}

/// What the company of a person has ordered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    pub services: BTreeSet<String>,
    pub tier: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing wanted: what is held is given back.
    Release,
    /// The held one stays, perhaps under the name of the company's new tier: no seat moves.
    Stay(Licence),
    /// Needs a seat of this licence's product.
    Take(Licence),
    /// What is held stays as it is.
    Refuse(Vec<Refusal>),
}

/// A wish in the catalogue's terms: a product, and the tier if one was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub product: Product,
    pub tier: Option<String>,
}

impl Wish {
    /// `Callcentrum PROFI`, `Callcentrum MINI`, `callcentrum-mini`, or only `Callcentrum`: then the company's tier.
    pub fn parse(catalogue: &Catalogue, text: &str) -> Result<Wish, Refusal> {
        if let Some(Licence { product, tier }) = catalogue.exactly(text) {
            return Ok(Wish { product, tier });
        }
        let product = catalogue.product(text).ok_or_else(|| Refusal::UnknownLicence {
            wanted: text.chars().take(100).collect(),
            allowed: catalogue.names(),
        })?;
        Ok(Wish { product, tier: None })
    }
}

/// `new`: somebody asks for it now, so a named tier must be the company's. An old wish follows the company's tier without
/// a transition (R21).
pub fn decide(catalogue: &Catalogue, held: Option<&Licence>, wish: Option<&Wish>, order: &Order, new: bool) -> Verdict {
    let Some(wish) = wish else { return Verdict::Release };
    let mut refusals = Vec::new();
    let family = catalogue.family(&wish.product.family);
    let tiered = !wish.product.mini && family.is_some_and(|family| family.tiers);
    let company_tier = order.tier.as_deref().and_then(|tier| catalogue.tier(tier));

    let missing: BTreeSet<String> =
        family.map(|family| family.services.difference(&order.services).cloned().collect()).unwrap_or_default();
    if !missing.is_empty() {
        refusals.push(Refusal::MissingService { services: missing });
    }
    let named = wish.tier.as_deref().filter(|_| new);
    if tiered && (company_tier.is_none() || named.is_some_and(|named| Some(named) != company_tier)) {
        let wanted = wish.tier.clone().unwrap_or_else(|| wish.product.family.clone());
        refusals.push(Refusal::TierMismatch { wanted, company: order.tier.clone() });
    }
    let tier = if tiered { named.or(company_tier).map(str::to_owned) } else { None };
    let target = Licence { product: wish.product.clone(), tier };
    let held = held.map(|held| renamed(catalogue, held, company_tier));
    if let Some(held) = &held
        && held.product != target.product
        && !catalogue.may_move(held, &target)
    {
        let on_our_tier = |to: &&Licence| to.tier.is_none() || to.tier.as_deref() == company_tier;
        refusals.push(Refusal::TransitionNotAllowed {
            from: held.to_string(),
            to: target.to_string(),
            allowed: catalogue.moves_from(held).filter(on_our_tier).map(ToString::to_string).collect(),
        });
    }
    match held {
        _ if !refusals.is_empty() => Verdict::Refuse(refusals),
        Some(held) if held.product == target.product => Verdict::Stay(target),
        _ => Verdict::Take(target),
    }
}

/// The held licence under the company's present tier.
pub fn renamed(catalogue: &Catalogue, held: &Licence, company_tier: Option<&str>) -> Licence {
    match (&held.tier, company_tier.and_then(|tier| catalogue.tier(tier))) {
        (Some(_), Some(tier)) => Licence { product: held.product.clone(), tier: Some(tier.to_owned()) },
        _ => held.clone(),
    }
}

/// The state that says it most clearly.
pub fn state_of(refusals: &[Refusal]) -> LicenceState {
    let transition = refusals.iter().any(|refusal| matches!(refusal, Refusal::TransitionNotAllowed { .. }));
    if transition { LicenceState::TransitionNotAllowed } else { LicenceState::Blocked }
}

/// What a company can give its people (R19): everything whose services it has ordered, on its tier.
pub fn offered(catalogue: &Catalogue, order: &Order) -> Vec<Licence> {
    let tier = order.tier.as_deref().and_then(|tier| catalogue.tier(tier));
    let fits = |licence: &Licence| {
        let family = catalogue.family(&licence.product.family);
        family.is_some_and(|family| family.services.is_subset(&order.services))
            && (licence.tier.is_none() || licence.tier.as_deref() == tier)
    };
    catalogue.licences().into_iter().filter(fits).collect()
}
