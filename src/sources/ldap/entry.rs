//! A search result entry: one message of bytes with marks in it, so that an entry which turns out to be the known one costs
//! three allocations. Names are lower-cased in place and lose their options, bytes stay bytes until somebody needs text.
//! Start at `Entry::of`; `raw` is the record that mappings see, `canonical` what is digested. A picture leaves here only as the
//! digest of its bytes.

use std::fmt::Write as _;
use std::ops::Range;

use base64::Engine as _;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::ber::{Garbage, OCTETS, Reader, SEQUENCE, SET};

/// One entry as the server sent it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    bytes: Vec<u8>,
    dn: Range<usize>,
    /// (name in lower case without options, value), in the server's order.
    pairs: Vec<(Range<usize>, Range<usize>)>,
    /// Attributes of which the server held back the rest (`member;range=0-1499`), with the next index.
    pub(super) ranged: Vec<(String, u32)>,
}

impl Entry {
    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// RFC 4511 §4.5.2: the content of `SearchResultEntry ::= SEQUENCE { objectName, attributes }`.
    pub(super) fn of(bytes: Vec<u8>) -> Result<Entry, Garbage> {
        let at = |part: &[u8]| {
            let start = part.as_ptr().addr() - bytes.as_ptr().addr();
            start..start + part.len()
        };
        let mut entry = Entry { bytes: Vec::new(), dn: 0..0, pairs: Vec::with_capacity(24), ranged: Vec::new() };
        let mut names: Vec<Range<usize>> = Vec::with_capacity(20);
        let mut parts = Reader(&bytes);
        let dn = parts.expect(OCTETS)?;
        std::str::from_utf8(dn).map_err(|_| Garbage)?;
        entry.dn = at(dn);
        let mut attributes = Reader(parts.expect(SEQUENCE)?);
        while let Some(attribute) = attributes.next()?.filter(|attribute| attribute.tag == SEQUENCE) {
            let mut parts = Reader(attribute.content);
            let full = std::str::from_utf8(parts.expect(OCTETS)?).map_err(|_| Garbage)?;
            let (name, options) = full.split_once(';').unwrap_or((full, ""));
            entry.note_range(name, options);
            names.push(at(name.as_bytes()));
            let mut values = Reader(parts.expect(SET)?);
            while let Some(value) = values.next()? {
                if value.tag != OCTETS {
                    return Err(Garbage);
                }
                entry.pairs.push((at(name.as_bytes()), at(value.content)));
            }
        }
        entry.bytes = bytes;
        for name in names {
            entry.bytes[name].make_ascii_lowercase();
        }
        Ok(entry)
    }

    /// An empty `member` beside `member;range=0-1499` is not an empty group.
    fn note_range(&mut self, name: &str, options: &str) {
        if let Some(upper) = options.split(';').find_map(range) {
            let name = name.to_ascii_lowercase();
            self.ranged.retain(|(ranged, _)| *ranged != name);
            let next = upper.parse::<u32>().ok().and_then(|upper| upper.checked_add(1));
            self.ranged.extend(next.map(|next| (name, next)));
        }
    }

    /// Takes over the values of an attribute from a later piece of the same entry.
    pub(super) fn append(&mut self, name: &str, piece: &Entry) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        let named = start..self.bytes.len();
        for value in piece.values(name) {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(value);
            self.pairs.push((named.clone(), start..self.bytes.len()));
        }
    }

    /// One value more.
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        let named = start..self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.pairs.push((named.clone(), named.end..self.bytes.len()));
    }

    pub(super) fn dn(&self) -> &str {
        // Checked when it was read.
        std::str::from_utf8(&self.bytes[self.dn.clone()]).unwrap_or_default()
    }

    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.pairs().filter(move |(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|(name, value)| (&self.bytes[name.clone()], &self.bytes[value.clone()]))
    }

    fn first(&self, name: &str) -> Option<&[u8]> {
        self.pairs().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    /// The first value, if it is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.first(name)?).ok()
    }

    /// The immutable id as text: `objectGUID` from its bytes, everything else as it is.
    pub(super) fn key(&self, attribute: &str) -> Option<String> {
        Entry::key_of(attribute, self.first(attribute)?)
    }

    pub(super) fn key_of(attribute: &str, value: &[u8]) -> Option<String> {
        if attribute == "objectguid" {
            return guid(value);
        }
        let text = std::str::from_utf8(value).ok()?.trim();
        (!text.is_empty()).then(|| text.to_ascii_lowercase())
    }

    /// The other way round, to ask for it.
    pub(super) fn key_bytes(attribute: &str, key: &str) -> Option<Vec<u8>> {
        if attribute == "objectguid" {
            return uuid::Uuid::parse_str(key).ok().map(|guid| guid.to_bytes_le().to_vec());
        }
        Some(key.as_bytes().to_vec())
    }

    /// Name, names and values in one form, whatever order the server chose. Without `stamp`, which says when, not what.
    pub(super) fn canonical(&self, stamp: &str, out: &mut Vec<u8>) {
        let field = |bytes: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        field(self.dn().as_bytes(), out);
        let mut sorted: Vec<(&[u8], &[u8])> = self.pairs().filter(|(name, _)| *name != stamp.as_bytes()).collect();
        sorted.sort_unstable();
        for (name, value) in sorted {
            field(name, out);
            if is_picture(name) {
                field(&Sha256::digest(value), out);
            } else {
                field(value, out);
            }
        }
    }

    /// The record that mappings see: lower-case names and `dn`; one value is a text, several are a list, bytes are base64,
    /// pictures their digest.
    pub(super) fn raw(&self) -> Value {
        let mut map = Map::new();
        for (name, value) in self.pairs() {
            let name = String::from_utf8_lossy(name);
            let value = Value::String(shown(&name, value));
            match map.get_mut(name.as_ref()) {
                None => drop(map.insert(name.into_owned(), value)),
                Some(Value::Array(list)) => list.push(value),
                Some(one) => {
                    let first = one.take();
                    *one = Value::Array(vec![first, value]);
                }
            }
        }
        map.insert("dn".to_owned(), Value::String(self.dn().to_owned()));
        Value::Object(map)
    }
}

fn shown(name: &str, value: &[u8]) -> String {
    if is_picture(name.as_bytes()) {
        return hex(&Sha256::digest(value));
    }
    let guid = if name == "objectguid" { guid(value) } else { None };
    let text = if name == "usercertificate" { None } else { std::str::from_utf8(value).ok().map(str::to_owned) };
    guid.or(text).unwrap_or_else(|| base64::engine::general_purpose::STANDARD.encode(value))
}

/// SCIM wants the address of a picture (RFC 7643 §4.1.2), and the bytes are of no use to anybody here: what tells one picture from
/// another is enough.
fn is_picture(name: &[u8]) -> bool {
    matches!(name, b"jpegphoto" | b"thumbnailphoto" | b"photo")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The upper end in `range=0-1499` or `range=1500-*`.
fn range(option: &str) -> Option<&str> {
    let (word, bounds) = option.split_once('=')?;
    word.eq_ignore_ascii_case("range").then_some(bounds.split_once('-')?.1)
}

/// Microsoft's mixed-endian bytes as everybody writes them.
fn guid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    Some(uuid::Uuid::from_bytes_le(bytes).as_hyphenated().to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::ber::element;
    use super::*;

    pub(in crate::sources::ldap) fn bytes(dn: &str, attributes: &[(&str, &[&[u8]])]) -> Vec<u8> {
        let attribute = |(name, values): &(&str, &[&[u8]])| {
            let values: Vec<u8> = values.iter().flat_map(|value| element(OCTETS, value)).collect();
            element(SEQUENCE, &[element(OCTETS, name.as_bytes()), element(SET, &values)].concat())
        };
        let attributes: Vec<u8> = attributes.iter().flat_map(attribute).collect();
        [element(OCTETS, dn.as_bytes()), element(SEQUENCE, &attributes)].concat()
    }

    pub(in crate::sources::ldap) fn entry(dn: &str, attributes: &[(&str, &[&[u8]])]) -> Entry {
        Entry::of(bytes(dn, attributes)).unwrap()
    }

    #[test]
    fn bytes_become_records() {
        let guid = [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        let entry = entry(
            "uid=eva,dc=x",
            &[
                ("objectGUID", &[&guid]),
                ("cn;lang-cs", &["Eva".as_bytes()]),
                ("CN", &[b"Eve"]),
                ("userCertificate;binary", &[b"x509"]),
                ("odd", &[&[0xff], b"x"]),
                ("mail", &[b"a@x"]),
            ],
        );
        assert_eq!(entry.key("objectguid").as_deref(), Some("00112233-4455-6677-8899-aabbccddeeff"));
        assert_eq!(
            entry.raw(),
            json!({
                "dn": "uid=eva,dc=x", "cn": ["Eva", "Eve"], "usercertificate": "eDUwOQ==", "odd": ["/w==", "x"], "mail": "a@x",
                "objectguid": "00112233-4455-6677-8899-aabbccddeeff"
            })
        );
    }

    #[test]
    fn of_a_picture_only_the_digest_is_seen() {
        let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let pictures = entry(
            "uid=eva,dc=x",
            &[
                ("jpegPhoto", &[b"hello", &[0xff, 0xd8]]),
                ("thumbnailPhoto;binary", &[b"hello"]),
                ("PHOTO;x-small", &[b"hello"]),
            ],
        );
        let raw = pictures.raw();
        assert_eq!((&raw["thumbnailphoto"], &raw["photo"]), (&json!(hello), &json!(hello)));
        assert_eq!(raw["jpegphoto"][0], hello);
        assert!(raw["jpegphoto"][1].as_str().is_some_and(|text| text.len() == 64 && text != hello));
        // Its bytes are not even copied to see whether the entry is the known one.
        let large = vec![7; 100_000];
        let mut canonical = Vec::new();
        entry("uid=eva,dc=x", &[("jpegPhoto", &[&large])]).canonical("", &mut canonical);
        assert!(canonical.len() < 100, "{}", canonical.len());
    }

    #[test]
    fn the_order_of_values_is_no_change() {
        let canonical = |entry: &Entry| {
            let mut out = Vec::new();
            entry.canonical("", &mut out);
            out
        };
        let one = entry("dc=x", &[("mail", &[b"a", b"b"]), ("cn", &[b"c"])]);
        let other = entry("dc=x", &[("CN", &[b"c"]), ("mail", &[b"b", b"a"])]);
        assert_eq!(canonical(&one), canonical(&other));
        assert_ne!(canonical(&one), canonical(&entry("dc=x", &[("mail", &[b"ab"]), ("cn", &[b"c"])])));
        assert_ne!(canonical(&one), canonical(&entry("dc=y", &[("mail", &[b"a", b"b"]), ("cn", &[b"c"])])));
    }

    #[test]
    fn a_held_back_rest_is_noticed_and_joined() {
        let mut part = entry("cn=g", &[("member", &[]), ("Member;range=0-1499", &[b"a"])]);
        assert_eq!(part.ranged, [("member".to_owned(), 1500)]);
        let rest = entry("cn=g", &[("member;range=1500-*", &[b"b"])]);
        assert_eq!(rest.ranged, []);
        part.append("member", &rest);
        assert_eq!(part.values("member").collect::<Vec<_>>(), [b"a", b"b"]);
    }

    proptest! {
        #[test]
        fn what_is_not_ldap_is_an_error_and_no_panic(at in 0usize..60, byte: u8, cut in 0usize..60) {
            let mut bytes = bytes("uid=eva,dc=x", &[("objectGUID", &[&[1; 16]]), ("cn;lang-cs", &[b"a", b"b"])]);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            if let Ok(entry) = Entry::of(bytes) {
                entry.raw();
                entry.canonical("", &mut Vec::new());
            }
        }
    }
}
