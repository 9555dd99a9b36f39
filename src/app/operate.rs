//! The commands of the operator, carried out: by the daemon for whoever asks on its control socket, or by the command
//! itself where no daemon runs. Both ways are this code. Start with `perform`; a command's own file says what it does.

mod events;
mod look;
mod maintain;
mod sources;
mod tokens;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::control::Progress;
use crate::tasks::World;

/// What can be asked of the daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    TokenCreate(TokenCreate),
    TokenList,
    TokenRevoke { id: String },
    Backup { file: PathBuf },
    Migrate,
    Plan { source: String },
    Sync { source: String, full: bool, expect: Option<String> },
    Approve { run: String },
    Undo { run: String, plan: bool },
    Runs { source: Option<String>, limit: i64 },
    Run { run: String },
    Why { login: String, attribute: Option<String> },
    Licences,
    MailOutbox { state: Option<String> },
    Events { acknowledged: bool },
    Sources,
    MapTest { source: String, entry: String },
    Pause { source: String, paused: bool },
    Acknowledge { event: String, changes: Option<i64> },
}

/// Who stands in the journal for what a command of this machine caused.
const ACTOR: &str = "operator:cli";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    pub label: String,
    /// The source it writes as.
    pub source: Option<String>,
    pub scopes: Vec<String>,
    /// The login of the user it speaks for, in the realm of the source.
    #[serde(default)]
    pub subject: Option<String>,
    pub days: u32,
}

/// How a command ended; the numbers are the process's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Exit {
    Fine = 0,
    Failed = 1,
    /// `plan`: there is something to do.
    Pending = 2,
    /// A guard stopped it; it waits for approval.
    Guarded = 3,
    Partial = 4,
    Usage = 64,
    Config = 78,
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> u8 {
        exit as u8
    }
}

impl TryFrom<u8> for Exit {
    type Error = String;
    fn try_from(number: u8) -> Result<Exit, String> {
        let all = [Exit::Fine, Exit::Failed, Exit::Pending, Exit::Guarded, Exit::Partial, Exit::Usage, Exit::Config];
        all.into_iter().find(|exit| *exit as u8 == number).ok_or_else(|| format!("no exit code of ours: {number}"))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply {
    pub exit: Exit,
    /// What `--json` prints.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub answer: Value,
    /// For people, where it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Reply {
    pub fn fine(answer: Value) -> Reply {
        Reply { exit: Exit::Fine, answer, error: None }
    }
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Engine(#[from] crate::reconcile::Error),
    #[error("{0}")]
    Failed(String),
}

pub async fn perform(world: World, command: Command, progress: Progress) -> Reply {
    let done = match command {
        Command::TokenCreate(wish) => tokens::create(&world, wish).await,
        Command::TokenList => tokens::list(&world).await,
        Command::TokenRevoke { id } => tokens::revoke(&world, &id).await,
        Command::Backup { file } => maintain::backup(&world, &file).await,
        Command::Migrate => maintain::migrate(&world).await,
        Command::Plan { source } => sources::plan(&world, &source, progress).await,
        Command::Sync { source, full, expect } => sources::sync(&world, &source, full, expect, progress).await,
        Command::Approve { run } => sources::approve(&world, &run).await,
        Command::Undo { run, plan } => sources::undo(&world, &run, plan, progress).await,
        Command::Runs { source, limit } => look::runs(&world, source.as_deref(), limit).await,
        Command::Run { run } => look::one(&world, &run).await,
        Command::Why { login, attribute } => look::why(&world, &login, attribute.as_deref()).await,
        Command::Licences => look::licences(&world),
        Command::MailOutbox { state } => look::outbox(&world, state.as_deref()).await,
        Command::Events { acknowledged } => events::list(&world, acknowledged).await,
        Command::MapTest { source, entry } => sources::map_test(&world, &source, &entry).await,
        Command::Sources => sources::list(&world).await,
        Command::Pause { source, paused } => sources::pause(&world, &source, paused).await,
        Command::Acknowledge { event, changes } => events::acknowledge(&world, &event, changes).await,
    };
    done.unwrap_or_else(|failure| {
        let exit = if matches!(failure, Failure::Usage(_)) { Exit::Usage } else { Exit::Failed };
        Reply { exit, answer: Value::Null, error: Some(failure.to_string()) }
    })
}

/// For the control socket: JSON in, JSON out.
pub async fn perform_json(world: World, command: Value, progress: Progress) -> Value {
    let reply = match serde_json::from_value(command) {
        Ok(command) => perform(world, command, progress).await,
        Err(error) => Reply { exit: Exit::Usage, answer: Value::Null, error: Some(error.to_string()) },
    };
    serde_json::to_value(&reply).unwrap_or_else(|error| json!({"exit": 1, "error": error.to_string()}))
}

fn shown(value: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::Failed(error.to_string()))
}
