//! A small HTTP client for stories: one call is one line, and what went wrong is in the panic. It follows no redirect
//! and retries nothing, so that a story sees exactly what the daemon answered. Start at `Http::new`.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// Where calls go, and as whom.
#[derive(Clone)]
pub struct Http {
    pub base: String,
    pub token: Option<String>,
    client: reqwest::Client,
}

/// What came back, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Http {
    pub fn new(base: impl Into<String>) -> Http {
        provider();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_mins(1))
            .build()
            .expect("an HTTP client");
        Http { base: base.into(), token: None, client }
    }

    /// The same place with a bearer token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Http {
        Http { token: Some(token.into()), ..self.clone() }
    }

    /// A request to change further (headers) before `answer`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, body).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, body).await
    }

    /// JSON out; under `/scim/` with the media type of RFC 7644.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let kind = if path.starts_with("/scim/") { "application/scim+json" } else { "application/json" };
        answer(self.request(method, path).header(CONTENT_TYPE, kind).body(body.to_string())).await
    }

    /// A body as it is, e.g. NDJSON or a form.
    pub async fn send_text(&self, method: Method, path: &str, kind: &str, body: impl Into<String>) -> Answer {
        answer(self.request(method, path).header(CONTENT_TYPE, kind).body(body.into())).await
    }
}

/// Sends and reads whole. Panics when there is no answer at all; `try_answer` does not.
pub async fn answer(request: RequestBuilder) -> Answer {
    try_answer(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

/// For stories in which the server dies.
pub async fn try_answer(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, text: response.text().await? })
}

impl Answer {
    /// The body, after the status was checked.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The one TLS provider, as `main` installs it. Calling it again is harmless.
pub fn provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
