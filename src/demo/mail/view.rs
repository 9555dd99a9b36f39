//! The caught mails over HTTP: a list at `/`, one mail at `/mails/N` (its HTML part, shown without scripts or anything
//! remote) and `/mails/N/text`, all of them as JSON at `/mails`. For people who try the demo and for scripts.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use super::{Caught, Mail};

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

pub(super) async fn serve(listener: TcpListener, caught: Caught) {
    let routes = Router::new()
        .route("/", get(list))
        .route("/mails", get(|State(caught): State<Caught>| async move { Json(caught.mails()) }))
        .route("/mails/{number}", get(one))
        .route("/mails/{number}/text", get(text))
        .with_state(caught);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::warn!(%error, "the mail catcher's pages ended");
    }
}

async fn list(State(caught): State<Caught>) -> Response {
    let mails = caught.mails();
    let rows: String = mails.iter().enumerate().rev().map(|(number, mail)| row(number, mail)).collect();
    let empty = if mails.is_empty() { "<p>No mail yet.</p>" } else { "" };
    page(&format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Caught mails</title><style>\
         body{{font-family:sans-serif;margin:2em}}td{{padding:.3em 1em .3em 0}}</style></head><body>\
         <h1>Caught mails</h1>{empty}<table>{rows}</table></body></html>"
    ))
}

fn row(number: usize, mail: &Mail) -> String {
    let link = mail.link().map(|link| format!("<a href=\"{0}\">{0}</a>", escaped(link))).unwrap_or_default();
    format!(
        "<tr><td>{}</td><td>{}</td><td><a href=\"/mails/{number}\">{}</a></td><td>{link}</td></tr>",
        escaped(mail.header("date").unwrap_or_default()),
        escaped(&mail.to.join(", ")),
        escaped(&mail.subject),
    )
}

async fn one(State(caught): State<Caught>, Path(number): Path<usize>) -> Response {
    match caught.mails().get(number) {
        Some(mail) => page(&mail.html),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn text(State(caught): State<Caught>, Path(number): Path<usize>) -> Response {
    match caught.mails().get(number) {
        Some(mail) => mail.text.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn page(html: &str) -> Response {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(html.to_owned())).into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
