//! Where something stands in a list: the value it is sorted by, and its id where values tie. One thing has one place, so
//! that a page can begin behind any other, whatever came or went meanwhile. Start with `Mark`.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::id::EntityId;
use super::time::Millis;

/// A value that things are sorted by. Values of one attribute are of one sort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Key {
    Flag(bool),
    Number(f64),
    Time(Millis),
    /// Folded where the attribute has no case.
    Text(String),
}

impl Key {
    const fn sort(&self) -> u8 {
        match self {
            Key::Flag(_) => 0,
            Key::Number(_) => 1,
            Key::Time(_) => 2,
            Key::Text(_) => 3,
        }
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Flag(a), Key::Flag(b)) => a.cmp(b),
            (Key::Number(a), Key::Number(b)) => a.total_cmp(b),
            (Key::Time(a), Key::Time(b)) => a.cmp(b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            (a, b) => a.sort().cmp(&b.sort()),
        }
    }
}

/// A place in a sorted list. What has no value stands last in ascending order and first in descending (RFC 7644
/// §3.4.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub key: Option<Key>,
    pub id: EntityId,
}

impl Mark {
    /// In a list that has no order but that of ids.
    pub const fn of_id(id: EntityId) -> Mark {
        Mark { key: None, id }
    }

    /// The order of two places.
    pub fn compare(&self, other: &Mark, descending: bool) -> Ordering {
        let keys = match (&self.key, &other.key) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        let ascending = keys.then(self.id.cmp(&other.id));
        if descending { ascending.reverse() } else { ascending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(key: Option<Key>, n: u32) -> Mark {
        Mark { key, id: format!("0198c0de-7a11-7abc-8def-{n:012}").parse().unwrap() }
    }

    #[test]
    fn what_has_no_value_stands_last_and_in_descending_order_first() {
        let text = |text: &str| Some(Key::Text(text.to_owned()));
        let mut marks = [mark(None, 1), mark(text("b"), 2), mark(text("a"), 4), mark(text("b"), 3)];
        let numbers = |marks: &[Mark]| marks.iter().map(|mark| mark.id.to_string().pop().unwrap()).collect::<String>();
        marks.sort_by(|a, b| a.compare(b, false));
        assert_eq!(numbers(&marks), "4231");
        marks.sort_by(|a, b| a.compare(b, true));
        assert_eq!(numbers(&marks), "1324");
    }

    #[test]
    fn every_two_values_have_an_order() {
        let keys = [Key::Flag(false), Key::Flag(true), Key::Number(-1.5), Key::Number(2.0), Key::Time(Millis(3))];
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Key::Number(f64::NAN).cmp(&Key::Number(f64::NAN)).is_eq());
    }
}
