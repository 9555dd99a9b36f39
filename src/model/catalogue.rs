//! The catalogue of licences: families, tiers, needed services and the moves between licences, as data.
//!
//! `Raw` is what the file says, `Catalogue` what has been checked; every fault is found at once. Names are compared
//! folded, so "callcentrum profi" is "Callcentrum PROFI". The rules on top of it are in `licence`.

use std::collections::BTreeSet;
use std::fmt;

use super::fold;
use super::time::Millis;

/// The word of the small variant of a family.
pub const MINI: &str = "MINI";

/// `config/licences.toml` as it is written.
#[derive(Debug, Clone)]
pub struct Raw {
    pub tiers: Vec<String>,
    pub grace_days: i64,
    pub family: Vec<Family>,
    pub upgrade: Vec<Upgrade>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    pub name: String,
    /// What the company must have ordered for it.
    pub services: BTreeSet<String>,
    /// The full licence carries the tier of the company.
    pub tiers: bool,
    pub mini: bool,
}

#[derive(Debug, Clone)]
pub struct Upgrade {
    pub from: Vec<String>,
    pub to: Vec<String>,
}

/// One kind of seat: a family, or its small variant. The tier is not part of it, it belongs to the company (R21).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Product {
    pub family: String,
    pub mini: bool,
}

/// In pools and addresses: `callcentrum`, `callcentrum-mini`.
impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", fold::key(&self.family), if self.mini { "-mini" } else { "" })
    }
}

/// A licence as a person holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Licence {
    pub product: Product,
    /// `None` for MINI and for families without tiers.
    pub tier: Option<String>,
}

impl fmt::Display for Licence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.product.family)?;
        match (&self.tier, self.product.mini) {
            (_, true) => write!(f, " {MINI}"),
            (Some(tier), false) => write!(f, " {tier}"),
            (None, false) => Ok(()),
        }
    }
}

/// What is wrong in a catalogue, in the words of its file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct Fault {
    pub key: String,
    pub message: String,
}

/// `default()` knows no licence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue {
    tiers: Vec<String>,
    families: Vec<Family>,
    /// Every single move, R39-R45.
    upgrades: BTreeSet<(Licence, Licence)>,
    grace: i64,
}

impl Catalogue {
    pub fn check(raw: Raw) -> Result<Catalogue, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut fault = |key: String, message: String| faults.push(Fault { key, message });
        let mut seen = BTreeSet::new();
        for (at, tier) in raw.tiers.iter().enumerate() {
            if !seen.insert(fold::key(tier)) || fold::key(tier) == fold::key(MINI) || tier.trim().is_empty() {
                fault(format!("tiers[{at}]"), format!("`{tier}` must be a name of its own, and not {MINI}"));
            }
        }
        let mut seen = BTreeSet::new();
        for (at, family) in raw.family.iter().enumerate() {
            let key = fold::key(&family.name);
            if key.is_empty() || key.contains(char::is_whitespace) || !seen.insert(key) {
                let message = format!("`{}` must be one word that no other family has", family.name);
                fault(format!("family[{at}].name"), message);
            }
            if family.tiers && raw.tiers.is_empty() {
                fault(format!("family[{at}].tiers"), "there are no tiers".to_owned());
            }
        }
        if raw.grace_days < 0 {
            fault("grace_days".to_owned(), format!("{} must be 0 or more", raw.grace_days));
        }
        let mut catalogue = Catalogue {
            tiers: raw.tiers,
            families: raw.family,
            upgrades: BTreeSet::new(),
            grace: raw.grace_days.saturating_mul(Millis::DAY),
        };
        for (at, upgrade) in raw.upgrade.iter().enumerate() {
            let mut read = |side: &str, names: &[String]| -> Vec<Licence> {
                let known = names.iter().enumerate().filter_map(|(n, name)| {
                    let licence = catalogue.exactly(name);
                    if licence.is_none() {
                        let allowed = catalogue.names().join(", ");
                        fault(format!("upgrade[{at}].{side}[{n}]"), format!("`{name}` is not one of {allowed}"));
                    }
                    licence
                });
                known.collect()
            };
            let (from, to) = (read("from", &upgrade.from), read("to", &upgrade.to));
            let moves = from.iter().flat_map(|from| to.iter().map(move |to| (from.clone(), to.clone())));
            catalogue.upgrades.extend(moves);
        }
        if faults.is_empty() { Ok(catalogue) } else { Err(faults) }
    }

    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// How long the seat of a deactivated person is kept, in milliseconds.
    pub fn grace(&self) -> i64 {
        self.grace
    }

    pub fn family(&self, name: &str) -> Option<&Family> {
        let key = fold::key(name);
        self.families.iter().find(|family| fold::key(&family.name) == key)
    }

    /// The tier in the catalogue's spelling.
    pub fn tier(&self, name: &str) -> Option<&str> {
        let key = fold::key(name);
        self.tiers.iter().map(String::as_str).find(|tier| fold::key(tier) == key)
    }

    /// How high a tier is.
    pub fn rank(&self, name: &str) -> Option<usize> {
        let key = fold::key(name);
        self.tiers.iter().position(|tier| fold::key(tier) == key)
    }

    /// `callcentrum`, `Callcentrum MINI`, `callcentrum-mini`.
    pub fn product(&self, name: &str) -> Option<Product> {
        let key = fold::key(name);
        self.products().into_iter().find(|product| product.to_string() == key.replace(' ', "-"))
    }

    pub fn products(&self) -> Vec<Product> {
        let of = |family: &Family| {
            let variant = |mini| Product { family: family.name.clone(), mini };
            std::iter::once(variant(false)).chain(family.mini.then(|| variant(true))).collect::<Vec<_>>()
        };
        self.families.iter().flat_map(of).collect()
    }

    /// Every licence there is, by its whole name.
    pub fn licences(&self) -> Vec<Licence> {
        let of = |product: Product| -> Vec<Licence> {
            let tiered = !product.mini && self.family(&product.family).is_some_and(|family| family.tiers);
            let with = |tier: Option<&String>| Licence { product: product.clone(), tier: tier.cloned() };
            if tiered { self.tiers.iter().map(|tier| with(Some(tier))).collect() } else { vec![with(None)] }
        };
        self.products().into_iter().flat_map(of).collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.licences().iter().map(ToString::to_string).collect()
    }

    /// A licence by its whole name.
    pub fn exactly(&self, name: &str) -> Option<Licence> {
        let key = words(name);
        self.licences().into_iter().find(|licence| words(&licence.to_string()) == key)
    }

    pub fn may_move(&self, from: &Licence, to: &Licence) -> bool {
        self.upgrades.contains(&(from.clone(), to.clone()))
    }

    /// Where one may move to from here.
    pub fn moves_from<'a>(&'a self, from: &'a Licence) -> impl Iterator<Item = &'a Licence> {
        self.upgrades.iter().filter(move |(start, _)| start == from).map(|(_, to)| to)
    }

    pub fn number_of_moves(&self) -> usize {
        self.upgrades.len()
    }
}

/// Folded, with single blanks.
fn words(name: &str) -> String {
    fold::key(name).split_whitespace().collect::<Vec<_>>().join(" ")
}
