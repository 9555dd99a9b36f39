//! The little BER that reading a directory needs (RFC 4511 §5.1): definite lengths, one-byte tags. Decoding borrows from the
//! message and never panics, whatever the bytes are; encoding builds small requests. Nothing here knows LDAP.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// One element: its tag and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
}

/// Elements one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// The bytes are no BER of the kind that LDAP allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent something that is not LDAP")]
pub(super) struct Garbage;

/// Tag and length: (tag, length of this header, length of the content). `None`: more bytes are needed.
pub(super) fn header(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, Garbage> {
    let (Some(&tag), Some(&first)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
    if tag & 0x1f == 0x1f {
        return Err(Garbage);
    }
    if first < 0x80 {
        return Ok(Some((tag, 2, usize::from(first))));
    }
    // 0x80 alone is the indefinite form, which LDAP forbids.
    let digits = usize::from(first & 0x7f);
    if !(1..=8).contains(&digits) {
        return Err(Garbage);
    }
    let Some(length) = bytes.get(2..2 + digits) else { return Ok(None) };
    let length = length.iter().try_fold(0usize, |sum, digit| sum.checked_mul(256)?.checked_add(usize::from(*digit)));
    Ok(Some((tag, 2 + digits, length.ok_or(Garbage)?)))
}

impl<'a> Reader<'a> {
    /// `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Element<'a>>, Garbage> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (tag, before, length) = header(self.0)?.ok_or(Garbage)?;
        let end = before.checked_add(length).ok_or(Garbage)?;
        let content = self.0.get(before..end).ok_or(Garbage)?;
        self.0 = &self.0[end..];
        Ok(Some(Element { tag, content }))
    }

    /// The next element must be there and have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<&'a [u8], Garbage> {
        self.next()?.filter(|found| found.tag == tag).map(|found| found.content).ok_or(Garbage)
    }

    pub(super) fn integer(&mut self, tag: u8) -> Result<i64, Garbage> {
        let content = self.expect(tag)?;
        if content.is_empty() || content.len() > 8 {
            return Err(Garbage);
        }
        let sign = if content[0] & 0x80 == 0 { 0 } else { -1 };
        Ok(content.iter().fold(sign, |sum, byte| sum << 8 | i64::from(*byte)))
    }
}

/// An element around what is given.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    out.push(tag);
    let length = content.len();
    match u8::try_from(length) {
        Ok(short @ 0..0x80) => out.push(short),
        _ => {
            let digits = length.to_be_bytes();
            let used = &digits[digits.iter().position(|digit| *digit != 0).unwrap_or(digits.len() - 1)..];
            out.push(0x80 | used.len() as u8);
            out.extend_from_slice(used);
        }
    }
    out.extend_from_slice(content);
    out
}

pub(super) fn integer(tag: u8, number: i32) -> Vec<u8> {
    let digits = number.to_be_bytes();
    // The shortest form that keeps the sign.
    let spare = |at: usize| {
        let (this, next) = (digits[at], digits[at + 1] & 0x80);
        (this == 0 && next == 0) || (this == 0xff && next != 0)
    };
    let from = (0..3).find(|at| !spare(*at)).unwrap_or(3);
    element(tag, &digits[from..])
}

pub(super) fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for number in [0, 1, 127, 128, 255, 256, 32_767, 65_536, i32::MAX, -1, -128, -129, i32::MIN] {
            let bytes = integer(INTEGER, number);
            assert_eq!(Reader(&bytes).integer(INTEGER), Ok(i64::from(number)), "{bytes:?}");
        }
        assert_eq!(integer(INTEGER, 128), [2, 2, 0, 128]);
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let bytes = element(OCTETS, &vec![7; length]);
            let mut reader = Reader(&bytes);
            assert_eq!(reader.expect(OCTETS).map(<[u8]>::len), Ok(length));
            assert_eq!(reader.next(), Ok(None));
        }
    }

    #[test]
    fn forbidden_forms_are_garbage() {
        for wrong in [&[0x30, 0x80, 0, 0][..], &[0x1f, 0x81, 0], &[0x30, 0x89, 1], &[0x30, 5, 1], &[0x30]] {
            assert_eq!(Reader(wrong).next(), Err(Garbage), "{wrong:?}");
        }
        let billion = [0x30, 0x84, 0x40, 0, 0, 0];
        assert_eq!(header(&billion), Ok(Some((0x30, 6, 1 << 30))), "the caller decides what is too long");
        assert_eq!(
            header(&[0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).map(|found| found.is_some()),
            Ok(true)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut reader = Reader(&bytes);
            while let Ok(Some(found)) = reader.next() {
                let _ = Reader(found.content).integer(INTEGER);
            }
            let _ = header(&bytes);
        }
    }
}
