//! What a reader hands on: records in chunks through a bounded channel, each key once per run. A full channel makes the
//! reader wait, so that memory stays bounded whatever the source holds.

use std::collections::HashSet;

use serde_json::json;
use tokio::sync::mpsc;

use super::client::Trouble;
use super::connector::Derive;
use crate::mapping::digest;
use crate::model::desired::{Chunk, Desired, Digest, Known, Record};
use crate::model::fold;
use crate::model::kind::Kind;

/// Records in one chunk.
const CHUNK: usize = 500;

pub struct Emitter<'a> {
    out: &'a mpsc::Sender<Chunk>,
    buffer: Vec<Record>,
    /// Digests of (kind, key): 16 bytes each, so that a million records cost some tens of megabytes at most.
    seen: HashSet<Digest>,
}

impl<'a> Emitter<'a> {
    pub fn new(out: &'a mpsc::Sender<Chunk>) -> Emitter<'a> {
        Emitter { out, buffer: Vec::new(), seen: HashSet::new() }
    }

    /// Whether this is the first time in this run.
    pub fn first(&mut self, kind: Kind, key: &str) -> bool {
        self.seen.insert(mark(kind, key))
    }

    pub async fn record(&mut self, record: Record) -> Result<(), Trouble> {
        self.buffer.push(record);
        if self.buffer.len() < CHUNK { Ok(()) } else { self.flush().await }
    }

    pub async fn flush(&mut self) -> Result<(), Trouble> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.buffer);
        let gone = |_| Trouble::Settings("the run was given up".to_owned());
        self.out.send(Chunk::Records(records)).await.map_err(gone)
    }

    /// A thing named by free text. Its digest is made of the folded text alone: the spelling that came first stays, and
    /// two people who write it differently do not change it back and forth.
    pub async fn derived(&mut self, derive: &Derive, text: &str, known: &dyn Known) -> Result<(), Trouble> {
        let (kind, key) = (derive.mapping.kind, fold::key(text));
        if key.is_empty() || !self.first(kind, &key) {
            return Ok(());
        }
        let digest = digest(&json!({"key": key}), derive.mapping.fingerprint());
        let record = if known.is(kind, &key, &digest) {
            Record::Same { kind, key }
        } else {
            match derive.mapping.map(&json!({"value": text.trim(), "key": key}), key.clone()) {
                Ok(desired) => Record::Present(Box::new(Desired { digest: Some(digest), ..desired })),
                Err(error) => Record::Bad { kind: Some(kind), key: Some(key), reason: error.to_string(), off: false },
            }
        };
        self.record(record).await
    }
}

/// Stands for a key in sets.
pub fn mark(kind: Kind, key: &str) -> Digest {
    digest::cut(format!("{kind}\0{key}").as_bytes())
}
