//! Requests with the right to make them: puts the secret into each request, fetches tokens where the vendor wants that,
//! and fetches a new one when the server no longer takes the old. No message of this file shows a secret or a template's
//! own error. Start at `Session::call`.

use std::time::{Duration, Instant};

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::client::{Client, Incoming, Outgoing, Trouble};
use super::path;
use super::request::{Context, NO_HEADER, Request, compile, header_value};
use crate::config::connector;
use crate::config::crm::Crm;
use crate::mapping::{Fault, Template};

/// Compiled.
#[derive(Debug)]
pub enum Auth {
    None,
    Header(HeaderName, Template),
    Query(String, Template),
    Basic(Template, Template),
    Fetched(Box<Fetched>),
}

#[derive(Debug)]
pub struct Fetched {
    request: Request,
    token: String,
    expires_in: Option<String>,
    lifetime: Duration,
    header: HeaderName,
    value: Template,
}

impl Auth {
    pub fn compile(spec: &connector::Auth, base: &str, faults: &mut Vec<Fault>) -> Auth {
        let name = |key: &str, name: &str, faults: &mut Vec<Fault>| {
            HeaderName::from_bytes(name.as_bytes()).unwrap_or_else(|_| {
                faults.push(Fault { target: format!("auth.{key}"), reason: format!("`{name}` {NO_HEADER}") });
                AUTHORIZATION
            })
        };
        match spec {
            connector::Auth::None => Auth::None,
            connector::Auth::Header { name: header, value } => {
                let header = name("name", header, faults);
                compile("auth.value", value, faults).map_or(Auth::None, |value| Auth::Header(header, value))
            }
            connector::Auth::Query { name, value } => {
                compile("auth.value", value, faults).map_or(Auth::None, |value| Auth::Query(name.clone(), value))
            }
            connector::Auth::Bearer { token } => compile("auth.token", &format!("Bearer {token}"), faults)
                .map_or(Auth::None, |value| Auth::Header(AUTHORIZATION, value)),
            connector::Auth::Basic { username, password } => {
                let username = compile("auth.username", username, faults);
                let password = compile("auth.password", password, faults);
                username.zip(password).map_or(Auth::None, |(username, password)| Auth::Basic(username, password))
            }
            connector::Auth::Fetched { request, token, expires_in, lifetime, header, value } => {
                let request = Request::compile(request, base, "auth.request", faults);
                let header = name("header", header, faults);
                let (token, expires_in, lifetime) = (token.clone(), expires_in.clone(), *lifetime);
                compile("auth.value", value, faults).map_or(Auth::None, |value| {
                    Auth::Fetched(Box::new(Fetched { request, token, expires_in, lifetime, header, value }))
                })
            }
        }
    }
}

pub struct Session<'a> {
    pub client: Client,
    auth: &'a Auth,
    settings: &'a Crm,
    /// A fetched token's header, and when it must be fetched anew.
    held: Mutex<Option<(HeaderValue, Instant)>>,
}

impl<'a> Session<'a> {
    pub fn new(client: Client, auth: &'a Auth, settings: &'a Crm) -> Session<'a> {
        Session { client, auth, settings, held: Mutex::new(None) }
    }

    /// A token that the server refuses is fetched anew, once.
    pub async fn call(&self, request: &Outgoing) -> Result<Incoming, Trouble> {
        let answer = self.client.send(&self.signed(request).await?).await;
        match (answer, self.auth) {
            (Err(Trouble::Status { status: 401, .. }), Auth::Fetched(_)) => {
                *self.held.lock().await = None;
                self.client.send(&self.signed(request).await?).await
            }
            (answer, _) => answer,
        }
    }

    async fn signed(&self, request: &Outgoing) -> Result<Outgoing, Trouble> {
        let mut request = request.clone();
        match self.auth {
            Auth::None => {}
            Auth::Header(name, value) => {
                request.headers.insert(name.clone(), sensitive(&self.secret(value)?)?);
            }
            Auth::Query(name, value) => {
                let value = self.secret(value)?;
                request.url.query_pairs_mut().append_pair(name, &value);
            }
            Auth::Basic(username, password) => {
                let pair = format!("{}:{}", self.secret(username)?, self.secret(password)?);
                let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
                request.headers.insert(AUTHORIZATION, sensitive(&value)?);
            }
            Auth::Fetched(fetched) => {
                request.headers.insert(fetched.header.clone(), self.token(fetched).await?);
            }
        }
        Ok(request)
    }

    /// Whoever comes first fetches; the others wait for it.
    async fn token(&self, fetched: &Fetched) -> Result<HeaderValue, Trouble> {
        let mut held = self.held.lock().await;
        if let Some((value, until)) = held.as_ref()
            && Instant::now() < *until
        {
            return Ok(value.clone());
        }
        let request = fetched.request.build(&self.settings.url, &self.context()).map_err(|_| refused())?;
        let answer = self.client.send(&request).await?;
        let wrong = |reason: &str| Trouble::Answer { what: request.what(), reason: reason.to_owned() };
        let token = path::text(&answer.body, &fetched.token).ok_or_else(|| wrong("holds no token"))?;
        let seconds = fetched.expires_in.as_ref().and_then(|at| path::text(&answer.body, at)?.parse().ok());
        // Fetched anew a little early, so that it does not die on the way.
        let life = seconds.map_or(fetched.lifetime, Duration::from_secs).mul_f64(0.9);
        let mut context = self.context();
        context.insert("token".to_owned(), json!(token));
        let value = sensitive(&fetched.value.render(&context).map_err(|_| refused())?)?;
        *held = Some((value.clone(), Instant::now() + life));
        Ok(value)
    }

    fn secret(&self, template: &Template) -> Result<String, Trouble> {
        template.render(&self.context()).map_err(|_| refused())
    }

    /// The variables, and what no other template may name: `username` and `secret`.
    fn context(&self) -> Context {
        let mut context = self.settings.variables.clone();
        if let Some(username) = &self.settings.username {
            context.insert("username".to_owned(), json!(username));
        }
        if let Some(secret) = &self.settings.secret {
            context.insert("secret".to_owned(), Value::String(secret.expose_secret().to_owned()));
        }
        context
    }
}

fn refused() -> Trouble {
    Trouble::Settings("auth: a template cannot be filled in; are username and secret given?".to_owned())
}

fn sensitive(text: &str) -> Result<HeaderValue, Trouble> {
    let mut value = header_value(text).map_err(|reason| Trouble::Settings(format!("auth: the value {reason}")))?;
    value.set_sensitive(true);
    Ok(value)
}
