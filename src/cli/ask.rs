//! How a command reaches the store: through the daemon's control socket when one answers there, else by opening the store
//! itself under the lock that a daemon would hold. Two writers never meet.

use std::io;
use std::path::Path;

use serde_json::Value;

use super::{failed, load};
use crate::app::operate::{self, Command, Exit, Reply};
use crate::app::{self, Origin};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::control;
use crate::http::state::App;
use crate::model::plain::plain;

/// Asks, and prints the answer: as JSON on one line, or as `show` would have it for a person.
pub async fn answer(origin: &Origin, command: Command, json: bool, show: impl FnOnce(&Value)) -> Exit {
    match ask(origin, command).await {
        Ok(reply) => print(&reply, json, show),
        Err(exit) => exit,
    }
}

pub fn print(reply: &Reply, json: bool, show: impl FnOnce(&Value)) -> Exit {
    if let Some(error) = &reply.error {
        eprintln!("musterd: {}", plain(error));
    }
    match &reply.answer {
        Value::Null => {}
        answer if json => println!("{answer}"),
        answer => show(answer),
    }
    reply.exit
}

/// Carries the command out where it belongs. `Err`: it could not even be asked, and why is on standard error.
pub async fn ask(origin: &Origin, command: Command) -> Result<Reply, Exit> {
    ask_with(origin, command, |_| ()).await
}

/// Like `ask`, with every line of progress.
pub async fn ask_with(origin: &Origin, command: Command, heard: impl FnMut(&Value) + Send) -> Result<Reply, Exit> {
    let config = load(origin)?;
    if answers(&config.server.control).await {
        return remote(&config.server.control, &command, heard).await.map_err(|error| {
            eprintln!("musterd: the daemon did not answer to the end: {error}");
            Exit::Failed
        });
    }
    local(config, command, heard).await.map_err(|error| failed(&error))
}

/// Whether a daemon listens. A socket file that nobody serves any more does not count.
async fn answers(socket: &Path) -> bool {
    tokio::net::UnixStream::connect(socket).await.is_ok()
}

async fn remote(socket: &Path, command: &Command, mut heard: impl FnMut(&Value)) -> io::Result<Reply> {
    let client = reqwest::Client::builder().unix_socket(socket).no_proxy().build().map_err(io::Error::other)?;
    let url = format!("http://localhost{}", control::COMMAND);
    let body = serde_json::to_vec(command)?;
    let request = client.post(url).header("content-type", "application/json").body(body);
    let mut response = request.send().await.and_then(reqwest::Response::error_for_status).map_err(io::Error::other)?;
    let mut buffer: Vec<u8> = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(io::Error::other)? {
        buffer.extend_from_slice(&piece);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let mut line: Value = serde_json::from_slice(&buffer[..end])?;
            buffer.drain(..=end);
            match line.get_mut("reply") {
                Some(reply) => return Ok(serde_json::from_value(reply.take())?),
                None => heard(&line["progress"]),
            }
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

async fn local(config: Config, command: Command, mut heard: impl FnMut(&Value)) -> Result<Reply, app::Error> {
    let clock = Clock::system();
    let opened = app::open(&config, &clock).await?;
    let app = App::new(opened.db.clone(), clock, config)?;
    app.keep_uniques().await?;
    let (progress, mut lines) = tokio::sync::mpsc::channel(64);
    let work = operate::perform(app::world_alone(&app), command, progress);
    tokio::pin!(work);
    let reply = loop {
        tokio::select! {
            reply = &mut work => break reply,
            Some(line) = lines.recv() => heard(&line),
        }
    };
    opened.db.close().await;
    Ok(reply)
}
