//! Where the next read of a directory goes on: written with the data it stands for, and good only for the same mode, filter,
//! base, mapping and identity. Whatever is not understood means that everything is read again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::ldap::ReadMode;
use crate::model::kind::Kind;
use crate::model::time::Millis;

/// Of the form of this text.
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    version: u32,
    pub(super) mode: ReadMode,
    /// Of filter, base, mapping and identity.
    fingerprint: String,
    /// When everything was read last.
    pub(super) whole_at: Millis,
    /// When it was last looked who is still there.
    pub(super) swept_at: Millis,
    /// By kind, or under `all` where the server has one for everything: what the server gave, as text.
    pub(super) marks: BTreeMap<String, String>,
}

pub(super) const ALL: &str = "all";

impl Cursor {
    pub(super) fn new(mode: ReadMode, fingerprint: String, now: Millis) -> Cursor {
        Cursor { version: VERSION, mode, fingerprint, whole_at: now, swept_at: now, marks: BTreeMap::new() }
    }

    /// `None`: nothing that this reader can go on from.
    pub(super) fn of(text: Option<&str>, mode: ReadMode, fingerprint: &str) -> Option<Cursor> {
        let cursor: Cursor = serde_json::from_str(text?).ok()?;
        (cursor.version == VERSION && cursor.mode == mode && cursor.fingerprint == fingerprint).then_some(cursor)
    }

    pub(super) fn mark(&self, kind: Kind) -> Option<&str> {
        self.marks.get(kind.as_str()).map(String::as_str)
    }

    pub(super) fn set(&mut self, kind: Kind, mark: Option<String>) {
        match mark {
            Some(mark) => drop(self.marks.insert(kind.as_str().to_owned(), mark)),
            None => drop(self.marks.remove(kind.as_str())),
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// Whether between these two everything was read, after reads of what changed.
pub fn was_whole(before: Option<&str>, after: Option<&str>) -> bool {
    let read = |text: Option<&str>| serde_json::from_str::<Cursor>(text?).ok();
    match (read(before), read(after)) {
        (Some(before), Some(after)) => before.fingerprint == after.fingerprint && before.whole_at < after.whole_at,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b2_a_cursor_is_good_for_what_it_was_made_of_and_for_nothing_else() {
        let mut cursor = Cursor::new(ReadMode::Syncrepl, "print".to_owned(), Millis(7));
        cursor.set(Kind::User, Some("c".to_owned()));
        let text = cursor.text().unwrap();
        assert_eq!(Cursor::of(Some(&text), ReadMode::Syncrepl, "print"), Some(cursor));
        assert_eq!(Cursor::of(Some(&text), ReadMode::DirSync, "print"), None);
        assert_eq!(Cursor::of(Some(&text), ReadMode::Syncrepl, "other"), None);
        assert_eq!(Cursor::of(Some(&text.replace(":1,", ":2,")), ReadMode::Syncrepl, "print"), None);
        for strange in ["", "{}", "2026-11-28T00:00:00Z", "null"] {
            assert_eq!(Cursor::of(Some(strange), ReadMode::Syncrepl, "print"), None);
        }
    }
}
