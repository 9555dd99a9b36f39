//! Content synchronization (RFC 4533): the control, and what its answers say. OpenLDAP and 389-ds speak it with an accent;
//! what follows from an answer is `read`'s. Start at `Session::ask_sync`.

use super::ber::{self, ENUMERATED, Garbage, OCTETS, Reader, SEQUENCE, SET};
use super::session::{Error, Query, Session, control, control_of, op, outcome, search, succeeded};
use super::wire::Answer;

pub(super) const SYNC: &str = "1.3.6.1.4.1.4203.1.9.1.1";
const STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
const DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
const INFO: &[u8] = b"1.3.6.1.4.1.4203.1.9.1.4";
const BOOLEAN: u8 = 0x01;

/// The server cannot go on from this cookie.
pub(super) const REFRESH_REQUIRED: i64 = 4096;

pub(super) type Uuid = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persist {
    /// What changed since the cookie, and the end.
    No,
    /// Then what changes from now on, without an end.
    Yes,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// New or changed; which of the two, servers do not tell apart.
    Entry(Vec<u8>, Uuid),
    /// Still there, unchanged.
    There(Vec<Uuid>),
    Gone(Vec<Uuid>),
    Pointer,
    /// Only the cookie moved on, or one part of the refresh ended.
    Nothing,
    /// `deletes`: what is gone was named; otherwise whatever was not named is gone.
    Done {
        cookie: Option<Vec<u8>>,
        deletes: bool,
    },
}

impl Session {
    /// Asks for everything (without a cookie), or for what changed since.
    pub(super) async fn ask_sync(
        &mut self,
        query: &Query,
        cookie: Option<&[u8]>,
        persist: Persist,
    ) -> Result<(), Error> {
        let mode = ber::integer(ENUMERATED, if persist == Persist::Yes { 3 } else { 1 });
        let cookie = cookie.map(|cookie| ber::element(OCTETS, cookie)).unwrap_or_default();
        let value = ber::element(SEQUENCE, &ber::concat(&[&mode, &cookie]));
        self.send(&search(query), &control(SYNC, true, &value)).await
    }

    pub(super) async fn next_sync(&mut self) -> Result<Said, Error> {
        let answer = self.answer().await?;
        understand(answer)
    }
}

fn understand(answer: Answer) -> Result<Said, Error> {
    match answer.op {
        op::ENTRY => {
            let mut parts = Reader(control_of(&answer.controls, STATE).ok_or(Garbage)?);
            let mut state = Reader(parts.expect(SEQUENCE)?);
            let what = state.integer(ENUMERATED)?;
            let uuid = uuid(state.expect(OCTETS)?)?;
            match what {
                0 => Ok(Said::There(vec![uuid])),
                1 | 2 => Ok(Said::Entry(answer.content, uuid)),
                3 => Ok(Said::Gone(vec![uuid])),
                _ => Err(Garbage.into()),
            }
        }
        op::REFERENCE => Ok(Said::Pointer),
        op::INTERMEDIATE => info(&answer.content),
        op::DONE => {
            succeeded(outcome(&answer.content)?)?;
            let value = control_of(&answer.controls, DONE).ok_or(Garbage)?;
            let mut parts = Reader(Reader(value).expect(SEQUENCE)?);
            let (mut cookie, mut deletes) = (None, false);
            while let Some(part) = parts.next()? {
                match part.tag {
                    OCTETS => cookie = Some(part.content.to_vec()),
                    BOOLEAN => deletes = part.content.first().is_some_and(|byte| *byte != 0),
                    _ => return Err(Garbage.into()),
                }
            }
            Ok(Said::Done { cookie, deletes })
        }
        _ => Err(Garbage.into()),
    }
}

/// `syncInfoValue`: a choice of new cookie, end of a phase, or a set of UUIDs.
fn info(content: &[u8]) -> Result<Said, Error> {
    let mut parts = Reader(content);
    let (mut name, mut value) = (None, None);
    while let Some(part) = parts.next()? {
        match part.tag {
            0x80 => name = Some(part.content),
            0x81 => value = Some(part.content),
            _ => return Err(Garbage.into()),
        }
    }
    if name != Some(INFO) {
        return Ok(Said::Nothing);
    }
    let Some(choice) = Reader(value.ok_or(Garbage)?).next()? else { return Err(Garbage.into()) };
    if choice.tag != 0xa3 {
        return if matches!(choice.tag, 0x80 | 0xa1 | 0xa2) { Ok(Said::Nothing) } else { Err(Garbage.into()) };
    }
    let (mut parts, mut gone, mut uuids) = (Reader(choice.content), false, Vec::new());
    while let Some(part) = parts.next()? {
        match part.tag {
            OCTETS => {}
            BOOLEAN => gone = part.content.first().is_some_and(|byte| *byte != 0),
            SET => {
                let mut set = Reader(part.content);
                while let Some(one) = set.next()? {
                    uuids.push(uuid(one.content)?);
                }
            }
            _ => return Err(Garbage.into()),
        }
    }
    Ok(if gone { Said::Gone(uuids) } else { Said::There(uuids) })
}

fn uuid(bytes: &[u8]) -> Result<Uuid, Garbage> {
    bytes.try_into().map_err(|_| Garbage)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ber::element;
    use super::*;

    fn answer(op: u8, content: &[u8], oid: &str, value: &[u8]) -> Answer {
        Answer { op, content: content.to_vec(), controls: control(oid, false, value) }
    }

    fn state(what: u8) -> Vec<u8> {
        let parts = [&element(ENUMERATED, &[what])[..], &element(OCTETS, &[7; 16])].concat();
        element(SEQUENCE, &parts)
    }

    fn set(flag: Option<u8>) -> Answer {
        let uuids = element(SET, &[element(OCTETS, &[1; 16]), element(OCTETS, &[2; 16])].concat());
        let flag = flag.map(|byte| element(BOOLEAN, &[byte])).unwrap_or_default();
        let value = element(0xa3, &[&element(OCTETS, b"cookie")[..], &flag, &uuids].concat());
        let content = [element(0x80, INFO), element(0x81, &value)].concat();
        Answer { op: op::INTERMEDIATE, content, controls: Vec::new() }
    }

    #[test]
    fn what_the_standard_can_say_is_understood() {
        assert_eq!(understand(answer(op::ENTRY, b"e", STATE, &state(1))).unwrap(), Said::Entry(b"e".to_vec(), [7; 16]));
        assert_eq!(understand(answer(op::ENTRY, b"e", STATE, &state(0))).unwrap(), Said::There(vec![[7; 16]]));
        assert_eq!(understand(answer(op::ENTRY, b"e", STATE, &state(3))).unwrap(), Said::Gone(vec![[7; 16]]));
        assert_eq!(understand(set(None)).unwrap(), Said::There(vec![[1; 16], [2; 16]]));
        assert_eq!(understand(set(Some(0))).unwrap(), Said::There(vec![[1; 16], [2; 16]]));
        assert_eq!(understand(set(Some(255))).unwrap(), Said::Gone(vec![[1; 16], [2; 16]]));
        let fine = [&element(ENUMERATED, &[0])[..], &element(OCTETS, b""), &element(OCTETS, b"")].concat();
        let done = |value: &[u8]| understand(answer(op::DONE, &fine, DONE, &element(SEQUENCE, value)));
        assert_eq!(done(&[]).unwrap(), Said::Done { cookie: None, deletes: false });
        let both = [element(OCTETS, b"c"), element(BOOLEAN, &[255])].concat();
        assert_eq!(done(&both).unwrap(), Said::Done { cookie: Some(b"c".to_vec()), deletes: true });
        assert!(
            understand(Answer { op: op::DONE, content: fine, controls: Vec::new() }).is_err(),
            "no control, no end"
        );
    }

    proptest! {
        #[test]
        fn what_is_not_sync_is_an_error_and_no_panic(at in 0usize..80, byte: u8) {
            for mut message in [set(Some(255)), answer(op::ENTRY, b"e", STATE, &state(1))] {
                for part in [&mut message.content, &mut message.controls] {
                    if let Some(place) = part.get_mut(at) {
                        *place = byte;
                    }
                }
                drop(understand(message));
            }
        }
    }
}
