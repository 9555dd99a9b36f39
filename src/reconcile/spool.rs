//! The records of a long read, in anonymous temporary files: bounded memory, nothing in the database before the guard has
//! spoken, and gone with the process. One file per kind, because things are applied in the order of their kinds.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use super::Error;
use crate::model::desired::Record;
use crate::model::kind::Kind;

/// One pass over a part of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// What is there, what is pointed at first.
    Present(Kind),
    /// What goes, what points first.
    Gone(Kind),
    /// What was refused because of something that may have gone meanwhile.
    Again,
}

/// What a survey must look at even when it only looks for losses.
pub const MAY_LOSE: u8 = 1;

/// Taken back before anybody read it.
const DROPPED: u8 = 0x80;

/// Records in one transaction of a run. What is made of more leaves the caches of the processor: of four times as many each
/// takes a fifth longer. With half as many there is a COMMIT too often. A caller waits for one piece at most.
const PIECE: usize = 250;

#[derive(Default)]
pub struct Spool {
    shelves: BTreeMap<Stage, Shelf>,
}

struct Shelf {
    file: BufWriter<File>,
    count: u64,
}

impl Spool {
    pub fn put(&mut self, stage: Stage, flags: u8, record: &Record) -> Result<(), Error> {
        self.put_raw(stage, flags, &serde_json::to_vec(record)?)
    }

    pub fn put_raw(&mut self, stage: Stage, flags: u8, record: &[u8]) -> Result<(), Error> {
        let shelf = match self.shelves.entry(stage) {
            std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(Shelf { file: BufWriter::new(tempfile::tempfile()?), count: 0 })
            }
        };
        let length = u32::try_from(record.len()).map_err(|_| io::Error::other("a record of more than 4 GB"))?;
        shelf.file.write_all(&length.to_be_bytes())?;
        shelf.file.write_all(&[flags])?;
        shelf.file.write_all(record)?;
        shelf.count += 1;
        Ok(())
    }

    /// Only what is to be kept; in one pass, and nothing is written anew.
    pub fn retain(&mut self, stage: Stage, mut keep: impl FnMut(&[u8]) -> Result<bool, Error>) -> Result<(), Error> {
        let mut reader = self.reader(stage)?;
        let Some(shelf) = self.shelves.get_mut(&stage) else { return Ok(()) };
        while let Some((at, flags, record)) = reader.next(0)? {
            if !keep(&record)? {
                shelf.file.get_ref().write_all_at(&[flags | DROPPED], at)?;
                shelf.count -= 1;
            }
        }
        Ok(())
    }

    pub fn count(&self, stage: Stage) -> u64 {
        self.shelves.get(&stage).map_or(0, |shelf| shelf.count)
    }

    pub fn clear(&mut self, stage: Stage) {
        self.shelves.remove(&stage);
    }

    /// In the order in which they are carried out.
    pub fn stages(&self) -> Vec<Stage> {
        let present = self.shelves.keys().filter(|stage| matches!(stage, Stage::Present(_)));
        let gone = self.shelves.keys().rev().filter(|stage| matches!(stage, Stage::Gone(_)));
        present.chain(gone).copied().collect()
    }

    /// From its beginning.
    pub fn reader(&mut self, stage: Stage) -> Result<Reader, Error> {
        let mut reader = Reader { file: None, at: 0, batches: None };
        let Some(shelf) = self.shelves.get_mut(&stage) else { return Ok(reader) };
        shelf.file.flush()?;
        let mut file = shelf.file.get_ref().try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        reader.file = Some(BufReader::with_capacity(1 << 16, file));
        Ok(reader)
    }

    /// In batches of these numbers, counted from 0.
    pub fn reader_in(&mut self, stage: Stage, batches: &[Vec<usize>]) -> Result<Reader, Error> {
        let mut reader = self.reader(stage)?;
        let mut starts = Vec::new();
        while let Some((flags_at, ..)) = reader.next(0)? {
            starts.push(flags_at - 4);
        }
        let start = |number: &usize| starts.get(*number).copied();
        reader.batches = Some(batches.iter().map(|batch| batch.iter().filter_map(start).collect()).collect());
        Ok(reader)
    }
}

pub struct Reader {
    file: Option<BufReader<File>>,
    /// How far it has come.
    at: u64,
    /// Where the records of each batch begin, if they are not taken in their order.
    batches: Option<VecDeque<Vec<u64>>>,
}

impl Reader {
    /// The next records that bear all of `flags`, as many as one batch of a run has; empty at the end. In batches of an order of
    /// its own there are all of them, whatever they bear.
    pub fn piece(&mut self, flags: u8) -> Result<Vec<Vec<u8>>, Error> {
        if let Some(batches) = &mut self.batches {
            let starts = batches.pop_front().unwrap_or_default();
            return starts.into_iter().filter_map(|start| self.at_start(start).transpose()).collect();
        }
        let mut batch = Vec::new();
        while batch.len() < PIECE
            && let Some((_, _, record)) = self.next(flags)?
        {
            batch.push(record);
        }
        Ok(batch)
    }

    /// The record that begins there.
    fn at_start(&mut self, start: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = &mut self.file else { return Ok(None) };
        file.seek(SeekFrom::Start(start))?;
        self.at = start;
        Ok(self.next(0)?.map(|(.., record)| record))
    }

    /// Where its flags stand, these, and the record.
    fn next(&mut self, wanted: u8) -> Result<Option<(u64, u8, Vec<u8>)>, Error> {
        let Some(file) = &mut self.file else { return Ok(None) };
        loop {
            let mut head = [0; 5];
            match file.read_exact(&mut head) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let (at, flags) = (self.at + 4, head[4]);
            self.at += 5 + u64::from(length);
            if flags & wanted != wanted || flags & DROPPED != 0 {
                file.seek_relative(i64::from(length))?;
                continue;
            }
            let mut record = vec![0; length as usize];
            file.read_exact(&mut record)?;
            return Ok(Some((at, flags, record)));
        }
    }
}

pub fn parse(batch: &[Vec<u8>]) -> Result<Vec<Record>, Error> {
    batch.iter().map(|record| Ok(serde_json::from_slice(record)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read_in_the_order_of_kinds_and_again() {
        let mut spool = Spool::default();
        let gone = |key: &str| Record::Gone { kind: Kind::User, key: key.to_owned() };
        for n in 0..=PIECE {
            spool.put(Stage::Present(Kind::User), u8::from(n == 7), &gone(&n.to_string())).unwrap();
        }
        spool.put(Stage::Gone(Kind::Company), 0, &gone("c")).unwrap();
        spool.put(Stage::Gone(Kind::Ticket), 0, &gone("t")).unwrap();
        spool.put(Stage::Present(Kind::Company), 0, &gone("p")).unwrap();
        assert_eq!(
            spool.stages(),
            [
                Stage::Present(Kind::Company),
                Stage::Present(Kind::User),
                Stage::Gone(Kind::Ticket),
                Stage::Gone(Kind::Company)
            ]
        );
        for _ in 0..2 {
            let mut reader = spool.reader(Stage::Present(Kind::User)).unwrap();
            assert_eq!(reader.piece(0).unwrap().len(), PIECE);
            assert_eq!(parse(&reader.piece(0).unwrap()).unwrap(), [gone("250")]);
            assert!(reader.piece(0).unwrap().is_empty());
        }
        let mut reader = spool.reader(Stage::Present(Kind::User)).unwrap();
        assert_eq!(parse(&reader.piece(MAY_LOSE).unwrap()).unwrap(), [gone("7")]);
    }

    #[test]
    fn it_is_taken_in_batches_of_any_order() {
        let mut spool = Spool::default();
        let gone = |n: usize| Record::Gone { kind: Kind::User, key: "k".repeat(n % 7) + &n.to_string() };
        for n in 0..40 {
            spool.put(Stage::Again, 0, &gone(n)).unwrap();
        }
        let mut reader = spool.reader_in(Stage::Again, &[vec![39, 0], vec![7, 8, 33]]).unwrap();
        spool.clear(Stage::Again);
        let mut next = || parse(&reader.piece(0).unwrap()).unwrap();
        assert_eq!(next(), [gone(39), gone(0)]);
        assert_eq!(next(), [gone(7), gone(8), gone(33)]);
        assert!(next().is_empty());
    }
}
