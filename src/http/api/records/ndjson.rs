//! Lines out of a body while it comes in: at most one line and one piece of the body are in memory. A line that is too
//! long is skipped to its end and told; a body that breaks off is an error, never an end.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// Longest line in bytes, without its end.
pub const LONGEST_LINE: usize = 256 << 10;

#[derive(Debug, PartialEq)]
pub enum Line {
    Text(Vec<u8>),
    TooLong,
}

/// The body ended in the middle. Why is of no use to the sender.
#[derive(Debug, PartialEq, Eq)]
pub struct BrokenOff;

pub struct Lines<S> {
    body: S,
    /// What came and was not yet given out.
    rest: Bytes,
    line: Vec<u8>,
    /// The line is too long already; its remainder is thrown away.
    skipping: bool,
    number: u64,
    ended: bool,
}

impl<S, E> Lines<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    pub fn new(body: S) -> Lines<S> {
        Lines { body, rest: Bytes::new(), line: Vec::new(), skipping: false, number: 0, ended: false }
    }

    /// The next line that is not blank, with its number from 1. `None` = the body came to its proper end.
    pub async fn next(&mut self) -> Result<Option<(u64, Line)>, BrokenOff> {
        loop {
            if let Some(at) = self.rest.iter().position(|byte| *byte == b'\n') {
                let piece = self.rest.split_to(at + 1);
                self.take(&piece[..at]);
                if let Some(line) = self.finish() {
                    return Ok(Some((self.number, line)));
                }
                continue;
            }
            let piece = std::mem::take(&mut self.rest);
            self.take(&piece);
            if self.ended {
                return Ok(self.finish().map(|line| (self.number, line)));
            }
            match self.body.next().await {
                Some(Ok(piece)) => self.rest = piece,
                Some(Err(_)) => return Err(BrokenOff),
                None => self.ended = true,
            }
        }
    }

    fn take(&mut self, piece: &[u8]) {
        if self.skipping || self.line.len() + piece.len() > LONGEST_LINE {
            self.skipping = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    /// `None`: the line is blank.
    fn finish(&mut self) -> Option<Line> {
        self.number += 1;
        let line = std::mem::take(&mut self.line);
        match std::mem::take(&mut self.skipping) {
            true => Some(Line::TooLong),
            false if line.iter().all(u8::is_ascii_whitespace) => None,
            false => Some(Line::Text(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Piece = Result<Bytes, ()>;

    async fn all(pieces: Vec<Piece>) -> Result<Vec<(u64, Line)>, BrokenOff> {
        let mut lines = Lines::new(futures_util::stream::iter(pieces));
        let mut found = Vec::new();
        while let Some(line) = lines.next().await? {
            found.push(line);
        }
        Ok(found)
    }

    fn text(line: &str) -> Line {
        Line::Text(line.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn lines_come_out_whatever_the_pieces_are() {
        let body = "{\"a\":1}\r\n\n  \nč\nlast";
        let whole = vec![(1, text("{\"a\":1}\r")), (4, text("č")), (5, text("last"))];
        for size in 1..body.len() {
            let pieces = body.as_bytes().chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            assert_eq!(all(pieces).await.as_ref(), Ok(&whole), "{size}");
        }
        assert_eq!(all(vec![]).await, Ok(vec![]));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_told_and_the_next_is_read() {
        let long = Bytes::from(vec![b'x'; LONGEST_LINE + 1]);
        let fits = Bytes::from(vec![b'y'; LONGEST_LINE]);
        let pieces = vec![Ok(long.clone()), Ok(long), Ok(Bytes::from_static(b"\nok\n")), Ok(fits.clone())];
        let found = all(pieces).await.unwrap();
        assert_eq!(found, [(1, Line::TooLong), (2, text("ok")), (3, Line::Text(fits.to_vec()))]);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_end() {
        assert_eq!(all(vec![Ok(Bytes::from_static(b"a\nb")), Err(())]).await, Err(BrokenOff));
    }
}
