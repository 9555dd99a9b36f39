//! Events told to others: one signed POST each, by the Standard Webhooks specification (headers `webhook-id`,
//! `webhook-timestamp`, `webhook-signature`). Follows no redirect, knows no proxy, reads no answer beyond its status.
//! Start with `Receiver`; when somebody is told is `tasks::notify`'s.

use std::error::Error as _;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Certificate, StatusCode};
use ring::hmac;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::config::Webhook;
use crate::model::event::Event;
use crate::model::time::Millis;

/// Whoever is told, ready to be.
pub struct Receiver<'a> {
    webhook: &'a Webhook,
    http: reqwest::Client,
}

/// Why it was not told.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It said no: others may still be told of.
    #[error("answered {0}")]
    Refused(StatusCode),
    /// Nobody was reached: nothing else will be taken now.
    #[error("{0}")]
    Unreachable(String),
}

impl Receiver<'_> {
    /// The error is what is wrong with its settings.
    pub fn new(webhook: &Webhook) -> Result<Receiver<'_>, String> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(webhook.timeout)
            .user_agent(concat!("musterd/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &webhook.ca_file {
            let shown = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
            let pem = std::fs::read(file).map_err(|error| shown(&error))?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| shown(&error))?;
            if authorities.is_empty() {
                return Err(shown(&"holds no certificate"));
            }
            builder = builder.tls_certs_only(authorities);
        }
        builder.build().map(|http| Receiver { webhook, http }).map_err(|error| cause(&error))
    }

    /// Any answer of 200 to 299 is taking note.
    pub async fn tell(&self, event: &Event, now: Millis) -> Result<(), Trouble> {
        let (id, body) = (message_id(event), body(event));
        let seconds = now.0.div_euclid(1000);
        let request = self
            .http
            .post(self.webhook.url.0.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature(self.webhook.secret.expose_secret(), &id, seconds, &body))
            .body(body);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(Trouble::Refused(answer.status())),
            Err(error) => Err(Trouble::Unreachable(cause(&error.without_url()))),
        }
    }
}

/// The same for the same content, however often it is sent.
fn message_id(event: &Event) -> String {
    format!("{}.{}", event.id, event.changes)
}

/// No word about anybody, nor of what a server answered: whoever is told asks the exchange to read its agents anew, or looks
/// at the source.
fn body(event: &Event) -> String {
    let mut data = json!({"event": event.id, "changes": event.changes, "raised": event.raised});
    data[event.topic.noun()] = json!(event.label);
    if let Some(advice) = event.topic.advice(&event.label) {
        data["message"] = json!(advice);
    }
    json!({"type": event.topic, "timestamp": event.changed, "data": data}).to_string()
}

fn signature(secret: &[u8], id: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// The whole chain: the outermost error says little. Without the address, which may hold a secret.
fn cause(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { "not reached".to_owned() };
    let mut inner = error.source();
    while let Some(error) = inner {
        let _ = write!(text, ": {error}");
        inner = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Topic;

    #[test]
    fn r37_the_signature_is_that_of_the_specification() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_told_names_the_exchange_and_nobody() {
        let event = Event {
            id: "e".to_owned(),
            topic: Topic::PbxReloadRequired,
            label: "north".to_owned(),
            changes: 3,
            raised: Millis(0),
            changed: Millis(1000),
            acknowledged: None,
            acknowledged_by: None,
        };
        let told: serde_json::Value = serde_json::from_str(&body(&event)).unwrap();
        let data = json!({"event": "e", "changes": 3, "raised": "1970-01-01T00:00:00.000Z", "pbx": "north"});
        let whole = json!({"type": "pbx.reload_required", "timestamp": "1970-01-01T00:00:01.000Z", "data": data});
        assert_eq!((told, message_id(&event).as_str()), (whole, "e.3"));
        let held = Event { topic: Topic::SourceHeld, label: "hq".to_owned(), ..event };
        let told: serde_json::Value = serde_json::from_str(&body(&held)).unwrap();
        assert_eq!((&told["type"], &told["data"]["source"]), (&json!("source.held"), &json!("hq")));
        assert!(told["data"]["message"].as_str().unwrap().contains("musterd approve RUN"), "{told}");
    }
}
