//! The commands of the `musterd` binary: their words, their exit codes and how answers look. What they do is
//! `app::operate`'s. Start with `Arguments`.

pub mod ask;
mod check;
mod demo;
mod look;
mod serve;
mod show;
mod source;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::app::operate::{Command as Wish, Exit};
use crate::app::{self, Origin};
use crate::config::Config;
use crate::config::fault::Refused;
use crate::model::plain::plain;

/// musterd: people from identity providers, directories and CRMs; who may see which ticket.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXITS)]
struct Arguments {
    /// A configuration file; repeatable, later ones win. Default: /etc/musterd/musterd.toml, where it exists.
    #[arg(short, long = "config", value_name = "FILE", global = true, env = "MUSTERD_CONFIG")]
    config: Vec<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXITS: &str = "Exit codes: 0 fine, 1 failed, 2 changes pending (plan), 3 stopped by a guard, 4 partial, \
                     64 usage, 78 configuration.\nEvery key can be set as MUSTERD__SECTION__KEY in the environment.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Serve,
    /// A directory, a CRM, a mail catcher and the daemon on loopback, with things to try.
    Demo {
        /// Print one line of JSON once everything is up.
        #[arg(long)]
        json: bool,
    },
    /// Read the configuration, open the store: all faults at once.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// What a run of the source would change, to the last field. Writes nothing; exit code 2 when there is something.
    Plan {
        source: String,
        #[arg(long)]
        json: bool,
    },
    /// Read the source and apply what it says; a run that would take away too much stops (exit code 3).
    Sync {
        source: String,
        /// Read everything again, from the beginning.
        #[arg(long)]
        full: bool,
        /// Only if the changes are exactly those of the preview with this digest.
        #[arg(long, value_name = "DIGEST", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        expect: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Mappings.
    #[command(subcommand)]
    Map(Map),
    /// How every source stands: last read, last good one, next, and what it brought.
    Sources {
        #[arg(long)]
        json: bool,
    },
    /// Read a source no more on its schedule; `sync` still does.
    Pause { source: String },
    /// Read it on its schedule again; what was missed is caught up once.
    Resume { source: String },
    /// Apply exactly what a guard held.
    Approve {
        run: String,
        #[arg(long)]
        json: bool,
    },
    /// Take back what a run did, and pause its source if it is one that is read. What was changed since stays as it is and is told (exit code 4).
    Undo {
        run: String,
        /// Show what would be taken back and write nothing; exit code 2 when there is something.
        #[arg(long)]
        plan: bool,
        #[arg(long)]
        json: bool,
    },
    /// What ran, newest first, and how every source stands.
    Runs {
        #[arg(long)]
        source: Option<String>,
        #[arg(long, default_value_t = 20)]
        limit: i64,
        #[arg(long)]
        json: bool,
    },
    /// One run with its changes.
    Run {
        run: String,
        #[arg(long)]
        json: bool,
    },
    /// Why is it so.
    #[command(subcommand)]
    Why(Why),
    /// The licences that can be held, and what each may become.
    Licences {
        #[arg(long)]
        json: bool,
    },
    /// Mails.
    #[command(subcommand)]
    Mail(Mail),
    /// What others must be told of, until somebody acknowledges it.
    #[command(subcommand)]
    Events(Events),
    /// Bearer tokens.
    #[command(subcommand)]
    Token(token::Token),
    /// Bring the store's schema up to date.
    Migrate,
    /// Write a consistent copy of the embedded database into a new file.
    Backup { file: PathBuf },
    /// Print completions for a shell.
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Subcommand)]
enum Why {
    /// Which source set which attribute of a user, when, in which run.
    User {
        login: String,
        /// e.g. name.familyName; all without it.
        attribute: Option<String>,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Map {
    /// What a directory says of one entry, by which rules it goes, and what becomes of it. Changes nothing.
    Test {
        source: String,
        /// Its distinguished name.
        entry: String,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Mail {
    /// What is to be delivered and how it went, newest first.
    Outbox {
        /// queued, sending, sent, failed, indeterminate, skipped
        #[arg(long)]
        state: Option<String>,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Events {
    /// The open events and how far each webhook was told, newest first.
    List {
        /// The acknowledged ones instead.
        #[arg(long)]
        acknowledged: bool,
        #[arg(long)]
        json: bool,
    },
    /// Close an event: what it asked for is done.
    Acknowledge {
        event: String,
        /// Only if it stands for no more changes than these.
        #[arg(long)]
        changes: Option<i64>,
        #[arg(long)]
        json: bool,
    },
}

/// The whole program.
pub fn main() -> ExitCode {
    end_quietly_without_reader();
    // The one TLS provider; a second installation (tests) is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Fine };
            // Help that cannot be printed (a closed pipe) is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::from(code));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("musterd: no runtime: {error}");
            return ExitCode::from(u8::from(Exit::Failed));
        }
    };
    let exit = runtime.block_on(run(arguments));
    // Blocking threads (a hash, a look-up) are not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ExitCode::from(u8::from(exit))
}

async fn run(arguments: Arguments) -> Exit {
    let origin = Origin(crate::config::files(arguments.config));
    match arguments.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "musterd", &mut std::io::stdout());
            Exit::Fine
        }
        Command::Check { json } => check::check(&origin, json).await,
        Command::Demo { json } => demo::demo(json).await,
        Command::Serve => match load(&origin) {
            Ok(config) => serve::serve(origin, config).await,
            Err(exit) => exit,
        },
        Command::Token(token) => token::run(&origin, token).await,
        Command::Plan { source, json } => source::run(&origin, Wish::Plan { source }, json).await,
        Command::Sync { source, full, expect, json } => {
            source::run(&origin, Wish::Sync { source, full, expect }, json).await
        }
        Command::Approve { run, json } => source::run(&origin, Wish::Approve { run }, json).await,
        Command::Undo { run, plan, json } => source::run(&origin, Wish::Undo { run, plan }, json).await,
        Command::Map(Map::Test { source, entry, json }) => {
            ask::answer(&origin, Wish::MapTest { source, entry }, json, look::trials).await
        }
        Command::Sources { json } => ask::answer(&origin, Wish::Sources, json, look::sources).await,
        Command::Pause { source } => {
            ask::answer(&origin, Wish::Pause { source, paused: true }, false, look::paused).await
        }
        Command::Resume { source } => {
            ask::answer(&origin, Wish::Pause { source, paused: false }, false, look::paused).await
        }
        Command::Runs { source, limit, json } => {
            ask::answer(&origin, Wish::Runs { source, limit }, json, look::runs).await
        }
        Command::Run { run, json } => ask::answer(&origin, Wish::Run { run }, json, look::run).await,
        Command::Why(Why::User { login, attribute, json }) => {
            ask::answer(&origin, Wish::Why { login, attribute }, json, look::why).await
        }
        Command::Licences { json } => ask::answer(&origin, Wish::Licences, json, look::licences).await,
        Command::Mail(Mail::Outbox { state, json }) => {
            ask::answer(&origin, Wish::MailOutbox { state }, json, look::outbox).await
        }
        Command::Events(Events::List { acknowledged, json }) => {
            ask::answer(&origin, Wish::Events { acknowledged }, json, look::events).await
        }
        Command::Events(Events::Acknowledge { event, changes, json }) => {
            ask::answer(&origin, Wish::Acknowledge { event, changes }, json, look::acknowledged).await
        }
        Command::Migrate => ask::answer(&origin, Wish::Migrate, false, show::migrated).await,
        Command::Backup { file } => match std::path::absolute(&file) {
            Ok(file) => ask::answer(&origin, Wish::Backup { file }, false, show::backup).await,
            Err(error) => {
                eprintln!("musterd: {}: {error}", file.display());
                Exit::Usage
            }
        },
    }
}

/// The configuration, or its faults on standard error.
fn load(origin: &Origin) -> Result<Config, Exit> {
    origin.load().map_err(|refused| refuse(&refused))
}

fn refuse(refused: &Refused) -> Exit {
    eprintln!("musterd: {refused}");
    Exit::Config
}

/// `musterd runs | head`: whoever read the output has gone, and that is no failure of ours.
fn end_quietly_without_reader() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>().map(String::as_str).unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        before(panic);
    }));
}

/// A failure at start: the configuration's faults have their own exit code.
fn failed(error: &app::Error) -> Exit {
    if let app::Error::Config(refused) = error {
        return refuse(refused);
    }
    eprintln!("musterd: {}", plain(&error.to_string()));
    Exit::Failed
}
