//! The next piece of a long read, made ready while the one before it is written: read from the spool, parsed, and in a first
//! read planned as well, on the guess that nobody of it is in the store yet. Whether that is so is asked in the transaction
//! that writes it (`apply_guessed`); where it is not, the piece is planned there as any other. Start with `Ahead::piece`.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::apply::{Guessed, guessed};
use super::spool::{self, Reader};
use super::{Context, Error};
use crate::model::desired::Record;
use crate::model::source::SourcePolicy;

/// Records as they lie in the spool, and what was made of them.
pub(super) struct Piece {
    pub reader: Reader,
    /// Empty at the end.
    pub raw: Vec<Vec<u8>>,
    pub ready: Ready,
}

pub(super) enum Ready {
    Records(Vec<Record>),
    Guessed(Box<Guessed>),
}

/// What planning needs beside the records.
pub(super) struct Ahead {
    cx: Context,
    source: Arc<SourcePolicy>,
}

impl Ahead {
    pub fn new(cx: &Context, source: &SourcePolicy) -> Ahead {
        Ahead { cx: cx.clone(), source: Arc::new(source.clone()) }
    }

    /// The next piece, beside whoever writes those before. `new`: everybody before was new, so these may be, too.
    pub fn piece(&self, mut reader: Reader, new: bool) -> JoinHandle<Result<Piece, Error>> {
        let (cx, source) = (self.cx.clone(), self.source.clone());
        spawn_blocking(move || {
            let raw = reader.piece()?;
            let mut records = spool::parse(&raw)?;
            if new && !raw.is_empty() {
                // Without a store it never waits.
                match Handle::current().block_on(guessed(&cx, &source, records))? {
                    Some(guessed) => return Ok(Piece { reader, raw, ready: Ready::Guessed(Box::new(guessed)) }),
                    None => records = spool::parse(&raw)?,
                }
            }
            Ok(Piece { reader, raw, ready: Ready::Records(records) })
        })
    }
}
