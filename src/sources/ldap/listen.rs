//! Hears at once that something changed: syncrepl's refreshAndPersist (RFC 4533 §3.4) from where the last read ended. What
//! changed is not taken from here but read the usual way, with its cookie, guard and transaction; this is only the bell.
//! Start with `listen`.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cursor::Cursor;
use super::fault::Error;
use super::session::{Query, Session};
use super::sync::{Persist, Said};
use super::{Part, Reader};
use crate::config::ldap::ReadMode;

/// A connection on which nothing was heard for so long is made anew: it may have died without a word.
const LONGEST: Duration = Duration::from_mins(10);
/// RFC 4511 §4.5.1.8: no attributes. That it changed is enough.
const NOTHING: &str = "1.1";

/// How listening ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Change,
    /// Nothing for a long while; it may be listened again.
    Nothing,
    /// There is no place to listen from: the source was not read by syncrepl yet.
    NoPlace,
}

/// Waits until the server tells of a change since `cursor`. Ends when `stop` is, leaving the server in good order.
pub async fn listen(reader: &Reader, cursor: Option<&str>, stop: &CancellationToken) -> Result<Heard, String> {
    let Some(cursor) = Cursor::of(cursor, ReadMode::Syncrepl, &reader.fingerprint()) else { return Ok(Heard::NoPlace) };
    let mut ears = JoinSet::new();
    let done = stop.child_token();
    for part in &reader.parts {
        let Some(cookie) = cursor.mark(part.kind).and_then(|mark| STANDARD.decode(mark).ok()) else {
            return Ok(Heard::NoPlace);
        };
        let (query, settings, done) = (quietly(part), reader.settings.clone(), done.clone());
        ears.spawn(async move {
            let mut session = Session::open(&settings).await?;
            session.wait_for(LONGEST);
            session.ask_sync(&query, Some(&cookie), Persist::Yes).await?;
            let heard = tokio::select! {
                () = done.cancelled() => Ok(Heard::Nothing),
                heard = change(&mut session) => heard,
            };
            if heard.is_ok() {
                session.abandon().await;
            }
            session.close().await;
            heard
        });
    }
    let first = match ears.join_next().await {
        Some(Ok(heard)) => heard,
        Some(Err(_)) | None => Err(Error::Stopped),
    };
    // The others are told to leave.
    done.cancel();
    while ears.join_next().await.is_some() {}
    first.map_err(|error| reader.told(error))
}

fn quietly(part: &Part) -> Query {
    Query { attributes: vec![NOTHING.to_owned()], ..part.query.clone() }
}

async fn change(session: &mut Session) -> Result<Heard, Error> {
    let until = Instant::now() + LONGEST;
    loop {
        match session.next_sync().await {
            Ok(Said::Entry(..) | Said::There(_) | Said::Gone(_) | Said::Done { .. }) => return Ok(Heard::Change),
            Ok(Said::Nothing | Said::Pointer) => {}
            Err(Error::Silent(_) | Error::Deadline) if Instant::now() >= until => return Ok(Heard::Nothing),
            Err(error) => return Err(error),
        }
    }
}
