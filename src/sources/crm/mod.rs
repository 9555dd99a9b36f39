//! Reads a CRM or helpdesk over REST as its connector file says. It never writes, neither here nor there, and a read that
//! was not complete says so: then nothing is concluded from what it did not list.
//! Start at `read`; `scan` reads one stream, `client` talks to the server.

mod client;
mod connector;
mod cursor;
mod emit;
mod page;
mod path;
mod request;
mod scan;
mod session;

use tokio::sync::mpsc;

pub use client::Trouble;
pub use connector::Ready;

use crate::clock::Clock;
use crate::config::crm::Crm;
use crate::model::desired::{Chunk, End, Known, Scope};
use crate::model::kind::Kind;
use crate::model::time::Millis;
use client::Client;
use cursor::Cursor;
use emit::Emitter;
use scan::Run;
use session::Session;

/// Reads all streams and ends with `Chunk::End`. `stored` is the cursor of the last complete read; without one, or when
/// it is too old, everything is read. Dropping the receiver stops the read.
pub async fn read(
    settings: &Crm,
    ready: &Ready,
    known: &dyn Known,
    stored: Option<String>,
    clock: &Clock,
    out: mpsc::Sender<Chunk>,
) {
    let end = match whole_read(settings, ready, known, stored, clock, &out).await {
        Ok(end) => end,
        Err(trouble) => End::Incomplete { reason: trouble.to_string(), passes: true },
    };
    // Nobody there to hear the end: then nobody needs it.
    drop(out.send(Chunk::End(end)).await);
}

async fn whole_read(
    settings: &Crm,
    ready: &Ready,
    known: &dyn Known,
    stored: Option<String>,
    clock: &Clock,
    out: &mpsc::Sender<Chunk>,
) -> Result<End, Trouble> {
    let now = clock.now();
    let client = Client::new(settings, &settings.connector, clock)?;
    let run = Run { session: Session::new(client, &ready.auth, settings), settings, known, now };
    let mut emitter = Emitter::new(out);
    let old = Cursor::usable(stored.as_deref(), settings, now);
    let end = match streams(&run, ready, old.as_ref(), &mut emitter).await {
        Err(trouble) if old.is_some() && rescans(settings, &trouble) => {
            tracing::info!("the server no longer knows the cursor, everything is read again: {trouble}");
            streams(&run, ready, None, &mut emitter).await?
        }
        end => end?,
    };
    emitter.flush().await?;
    Ok(end)
}

async fn streams(
    run: &Run<'_>,
    ready: &Ready,
    old: Option<&Cursor>,
    emitter: &mut Emitter<'_>,
) -> Result<End, Trouble> {
    let mut cursor = Cursor::new(run.settings, old.map_or(run.now, |old| old.full));
    let mut whole = Vec::new();
    for stream in &ready.streams {
        let name = &stream.spec.name;
        let before: Option<Millis> = old.and_then(|old| old.streams.get(name).copied());
        let since = stream
            .spec
            .cursor
            .as_ref()
            .and_then(|spec| before.and_then(|newest| cursor::since(newest, spec, &run.settings.zone)));
        let scanned = scan::stream(run, stream, since.as_deref(), emitter).await?;
        if stream.spec.cursor.is_some() {
            cursor.streams.extend(scanned.newest.max(before).map(|newest| (name.clone(), newest)));
        }
        whole.push(since.is_none());
    }
    let kinds: Vec<Kind> = ready.kinds_read_whole(&whole);
    let scope = if kinds.is_empty() { Scope::Only } else { Scope::Whole };
    Ok(End::Complete { cursor: cursor.stored(), kinds, scope, how: None, fingerprint: None })
}

fn rescans(settings: &Crm, trouble: &Trouble) -> bool {
    trouble.status().is_some_and(|status| settings.connector.errors.rescan.contains(&status))
}
