//! A search result entry without a panic: ldap3's own conversion dies on anything unexpected and splits values by what
//! happens to be UTF-8. Names are lower-cased and lose their options, bytes stay bytes until somebody needs text.
//! Start at `Entry::of`; `raw` is the record that mappings see, `canonical` what is digested.

use base64::Engine as _;
use ldap3::asn1::{PL, StructureTag};
use serde_json::{Map, Value};

/// One entry as the server sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) dn: String,
    /// Sorted by name; the values of `cn` and `cn;lang-cs` are joined.
    pub(super) attributes: Vec<(String, Vec<Vec<u8>>)>,
    /// Attributes of which the server held back the rest (`member;range=0-1499`), with the next index.
    pub(super) ranged: Vec<(String, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server sent an entry that is not LDAP: {0}")]
pub(super) struct Malformed(&'static str);

impl Entry {
    /// RFC 4511 §4.5.2: `SearchResultEntry ::= SEQUENCE { objectName, attributes }`.
    pub(super) fn of(tag: StructureTag) -> Result<Entry, Malformed> {
        let mut parts = constructed(tag, "no sequence")?.into_iter();
        let dn = text(parts.next().ok_or(Malformed("no name"))?, "the name is not text")?;
        let list = constructed(parts.next().ok_or(Malformed("no attributes"))?, "the attributes are no list")?;
        let mut entry = Entry { dn, attributes: Vec::with_capacity(list.len()), ranged: Vec::new() };
        for attribute in list {
            let mut parts = constructed(attribute, "an attribute is no sequence")?.into_iter();
            let name = text(parts.next().ok_or(Malformed("no attribute name"))?, "an attribute name is not text")?;
            let values = constructed(parts.next().ok_or(Malformed("no values"))?, "the values are no set")?;
            let values = values.into_iter().map(|value| primitive(value, "a value is no string"));
            entry.add(&name, values.collect::<Result<_, _>>()?);
        }
        entry.attributes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entry)
    }

    pub(super) fn add(&mut self, full_name: &str, values: Vec<Vec<u8>>) {
        let mut options = full_name.split(';');
        let name = options.next().unwrap_or_default().to_ascii_lowercase();
        // An empty `member` beside `member;range=0-1499` is not an empty group: the two are joined here.
        if let Some(upper) = options.find_map(range) {
            self.ranged.retain(|(ranged, _)| *ranged != name);
            let next = upper.parse::<u32>().ok().and_then(|upper| upper.checked_add(1));
            self.ranged.extend(next.map(|next| (name.clone(), next)));
        }
        match self.attributes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.extend(values),
            None => self.attributes.push((name, values)),
        }
    }

    pub(super) fn values(&self, name: &str) -> &[Vec<u8>] {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, values)| values.as_slice()).unwrap_or_default()
    }

    /// The first value, if it is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.values(name).first()?).ok()
    }

    /// The immutable id as text: `objectGUID` from its bytes, everything else as it is.
    pub(super) fn key(&self, attribute: &str) -> Option<String> {
        let value = self.values(attribute).first()?;
        if attribute == "objectguid" {
            return guid(value);
        }
        let text = std::str::from_utf8(value).ok()?.trim();
        (!text.is_empty()).then(|| text.to_ascii_lowercase())
    }

    /// Name and values in one form, whatever order the server chose.
    pub(super) fn canonical(&self, out: &mut Vec<u8>) {
        let field = |bytes: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        field(self.dn.as_bytes(), out);
        for (name, values) in &self.attributes {
            field(name.as_bytes(), out);
            out.extend_from_slice(&(values.len() as u64).to_le_bytes());
            let mut sorted: Vec<&Vec<u8>> = values.iter().collect();
            sorted.sort_unstable();
            for value in sorted {
                field(value, out);
            }
        }
    }

    /// The record that mappings see: lower-case names and `dn`; one value is a text, several are a list, bytes are base64.
    pub(super) fn raw(self) -> Value {
        let mut map = Map::new();
        map.insert("dn".to_owned(), Value::String(self.dn));
        for (name, values) in self.attributes {
            let binary = matches!(name.as_str(), "objectguid" | "jpegphoto" | "thumbnailphoto" | "usercertificate");
            let mut shown = values.into_iter().map(|value| show(&name, value, binary)).collect::<Vec<_>>();
            let value = if shown.len() == 1 { shown.pop().unwrap_or_default() } else { Value::Array(shown) };
            map.insert(name, value);
        }
        Value::Object(map)
    }
}

fn show(name: &str, value: Vec<u8>, binary: bool) -> Value {
    if name == "objectguid" {
        return guid(&value).map(Value::String).unwrap_or_default();
    }
    if binary {
        return Value::String(base64::engine::general_purpose::STANDARD.encode(value));
    }
    match String::from_utf8(value) {
        Ok(text) => Value::String(text),
        Err(bytes) => Value::String(base64::engine::general_purpose::STANDARD.encode(bytes.into_bytes())),
    }
}

/// The upper end in `range=0-1499` or `range=1500-*`.
fn range(option: &str) -> Option<&str> {
    let (word, bounds) = option.split_once('=')?;
    word.eq_ignore_ascii_case("range").then_some(bounds.split_once('-')?.1)
}

/// Microsoft's mixed-endian bytes as everybody writes them.
pub(super) fn guid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    Some(uuid::Uuid::from_bytes_le(bytes).as_hyphenated().to_string())
}

fn constructed(tag: StructureTag, wrong: &'static str) -> Result<Vec<StructureTag>, Malformed> {
    match tag.payload {
        PL::C(inner) => Ok(inner),
        PL::P(_) => Err(Malformed(wrong)),
    }
}

fn primitive(tag: StructureTag, wrong: &'static str) -> Result<Vec<u8>, Malformed> {
    match tag.payload {
        PL::P(bytes) => Ok(bytes),
        PL::C(_) => Err(Malformed(wrong)),
    }
}

fn text(tag: StructureTag, wrong: &'static str) -> Result<String, Malformed> {
    String::from_utf8(primitive(tag, wrong)?).map_err(|_| Malformed(wrong))
}

#[cfg(test)]
pub(super) mod tests {
    use ldap3::asn1::TagClass;
    use serde_json::json;

    use super::*;

    fn octets(bytes: &[u8]) -> StructureTag {
        StructureTag { class: TagClass::Universal, id: 4, payload: PL::P(bytes.to_vec()) }
    }

    fn list(inner: Vec<StructureTag>) -> StructureTag {
        StructureTag { class: TagClass::Universal, id: 16, payload: PL::C(inner) }
    }

    pub(in crate::sources::ldap) fn entry(dn: &str, attributes: &[(&str, &[&[u8]])]) -> Entry {
        let attribute = |(name, values): &(&str, &[&[u8]])| {
            list(vec![octets(name.as_bytes()), list(values.iter().map(|value| octets(value)).collect())])
        };
        Entry::of(list(vec![octets(dn.as_bytes()), list(attributes.iter().map(attribute).collect())])).unwrap()
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
                ("jpegPhoto", &[&[0xff, 0xd8]]),
                ("odd", &[&[0xff], b"x"]),
                ("mail", &[b"a@x"]),
            ],
        );
        assert_eq!(entry.key("objectguid").as_deref(), Some("00112233-4455-6677-8899-aabbccddeeff"));
        assert_eq!(
            entry.raw(),
            json!({
                "dn": "uid=eva,dc=x", "cn": ["Eva", "Eve"], "jpegphoto": "/9g=", "odd": ["/w==", "x"], "mail": "a@x",
                "objectguid": "00112233-4455-6677-8899-aabbccddeeff"
            })
        );
    }

    #[test]
    fn the_order_of_values_is_no_change() {
        let canonical = |entry: &Entry| {
            let mut out = Vec::new();
            entry.canonical(&mut out);
            out
        };
        let one = entry("dc=x", &[("mail", &[b"a", b"b"]), ("cn", &[b"c"])]);
        let other = entry("dc=x", &[("CN", &[b"c"]), ("mail", &[b"b", b"a"])]);
        assert_eq!(canonical(&one), canonical(&other));
        assert_ne!(canonical(&one), canonical(&entry("dc=x", &[("mail", &[b"ab"]), ("cn", &[b"c"])])));
        assert_ne!(canonical(&one), canonical(&entry("dc=y", &[("mail", &[b"a", b"b"]), ("cn", &[b"c"])])));
    }

    #[test]
    fn a_held_back_rest_is_noticed() {
        let part = entry("cn=g", &[("member", &[]), ("member;range=0-1499", &[b"a"])]);
        assert_eq!((part.values("member").len(), part.ranged.as_slice()), (1, &[("member".to_owned(), 1500)][..]));
        assert_eq!(entry("cn=g", &[("member;range=1500-*", &[b"a"])]).ranged, []);
    }

    #[test]
    fn what_is_not_ldap_is_an_error_and_no_panic() {
        for wrong in
            [octets(b"x"), list(vec![]), list(vec![octets(b"dc=x")]), list(vec![octets(&[0xff]), list(vec![])])]
        {
            assert!(Entry::of(wrong).is_err());
        }
    }
}
