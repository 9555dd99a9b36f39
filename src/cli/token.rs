//! `token create|list|revoke`.

use clap::Subcommand;

use super::{ask, show};
use crate::app::Origin;
use crate::app::operate::{Command, Exit, TokenCreate};

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; its text is shown once.
    Create {
        /// What it is for, in your own words.
        #[arg(long, default_value = "")]
        label: String,
        /// The source whose words it brings; needed for scim:* and records:push.
        #[arg(long)]
        source: Option<String>,
        /// What it may do, e.g. scim:read,scim:write or scim for both; repeatable.
        #[arg(long = "scope", value_delimiter = ',')]
        scopes: Vec<String>,
        /// The login of a user of the source's realm that it speaks for: /scim/v2/Me.
        #[arg(long)]
        subject: Option<String>,
        /// Days until it expires.
        #[arg(long, default_value_t = 365)]
        days: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// All tokens, without their secrets.
    List {
        #[arg(long)]
        json: bool,
    },
    /// End a token; counts on the next request.
    Revoke { id: String },
}

pub async fn run(origin: &Origin, token: Token) -> Exit {
    let (command, json, show): (Command, bool, fn(&serde_json::Value)) = match token {
        Token::Create { label, source, scopes, subject, days, json } => {
            (Command::TokenCreate(TokenCreate { label, source, scopes, subject, days }), json, show::token)
        }
        Token::List { json } => (Command::TokenList, json, show::tokens),
        Token::Revoke { id } => (Command::TokenRevoke { id }, false, show::revoked),
    };
    ask::answer(origin, command, json, show).await
}
