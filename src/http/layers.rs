//! What every request goes through before its handler: an id, a log line, figures, limits on its body and its time, the
//! gate, and a net under panics. Never here: anything that knows a route's meaning, except which ones stream.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, extract::DefaultBodyLimit};
use futures_util::FutureExt as _;
use http_body_util::Limited;
use hyper::body::Body as _;
use tower_http::timeout::TimeoutBody;
use tracing::Instrument as _;

use super::auth;
use super::error::Problem;
use super::scim;
use super::state::App;
use crate::telemetry;

/// Wraps the routes of the daemon. One layer for all of it: each costs every request a copy of everything inside it.
pub fn wrap(routes: Router<App>, app: App) -> Router {
    routes
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// Pushed records are long on purpose.
fn streams(path: &str) -> bool {
    path.starts_with("/api/v1/sources/") && path.ends_with("/records")
}

/// Bytes of the body and time to the answer. A stream has its own size and no end but the idle time-out.
async fn limited(app: &App, request: Request, next: Next) -> Response {
    let config = app.config();
    let limits = &config.server.limits;
    let streams = streams(request.uri().path());
    let most = if streams { limits.push_body } else { limits.body as u64 };
    let told =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|length| length > most) {
        let detail = format_args!("the body is longer than {most} bytes");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).into_response();
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let patient = limits.body_idle_timeout;
    let guarded = |body: Body| {
        if body.is_end_stream() { body } else { Body::new(Limited::new(TimeoutBody::new(patient, body), most)) }
    };
    let request = request.map(guarded);
    let time = if streams { Duration::from_hours(24) } else { limits.request_timeout };
    match tokio::time::timeout(time, admitted(app, request, next)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("a request took longer than server.limits.request_timeout").into_response(),
    }
}

/// Only with a caller, unless the path needs none.
async fn admitted(app: &App, mut request: Request, next: Next) -> Response {
    match auth::admit(app, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(refused) => refused,
    }
}

/// The id of the request (its own where it is harmless), the log line and the figures.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = given_id(&request).unwrap_or_else(|| app.clock.uuid().simple().to_string());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
    let span = tracing::info_span!("request", id, %method, route);
    let in_flight = metrics::gauge!(telemetry::HTTP_IN_FLIGHT);
    in_flight.increment(1);
    let counted = scopeguard(|| in_flight.decrement(1));
    let scim = scim::is_ours(request.uri().path());
    let answer = AssertUnwindSafe(limited(&app, request, next)).catch_unwind().instrument(span.clone());
    let mut response = answer.await.unwrap_or_else(panicked);
    if scim {
        response = scim::translate(response).await;
    }
    drop(counted);
    let (code, took) = (response.status(), start.elapsed());
    span.in_scope(|| tracing::debug!(code = code.as_u16(), micros = took.as_micros() as u64, "answered"));
    let labels = [("route", route.to_owned()), ("method", method.to_string()), ("code", code.as_str().to_owned())];
    metrics::counter!(telemetry::HTTP_REQUESTS, &labels).increment(1);
    metrics::histogram!(telemetry::HTTP_DURATION, "route" => route.to_owned()).record(took.as_secs_f64());
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn given_id(request: &Request) -> Option<String> {
    let text = request.headers().get("x-request-id")?.to_str().ok()?;
    let harmless =
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    harmless.then(|| text.to_owned())
}

/// Runs the closure when dropped, also when the client hangs up in the middle.
fn scopeguard<F: FnMut()>(then: F) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(then)
}

fn panicked(cause: Box<dyn Any + Send>) -> Response {
    metrics::counter!(telemetry::PANICS).increment(1);
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    Problem::internal(format_args!("panic: {}", text.unwrap_or("(no text)"))).into_response()
}
