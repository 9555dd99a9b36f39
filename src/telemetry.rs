//! Logs and the names of the metrics. A name stands here once and is emitted somewhere; labels are few and never name a
//! person. Logs go to the journal with fields where the output is one, as lines to a terminal, as JSON elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use metrics_exporter_prometheus::{BuildError, PrometheusHandle};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::server::{Log, LogFormat};
use crate::model::time::Millis;

pub const HTTP_REQUESTS: &str = "http_requests_total";
pub const HTTP_DURATION: &str = "http_request_duration_seconds";
pub const HTTP_IN_FLIGHT: &str = "http_in_flight";
pub const CONNECTIONS: &str = "http_connections";
pub const CONNECTIONS_REFUSED: &str = "http_connections_refused_total";
pub const AUTH_FAILURES: &str = "auth_failures_total";
pub const PANICS: &str = "panics_total";
pub const RELOAD_OK: &str = "config_last_reload_success";
pub const BUILD_INFO: &str = "build_info";
pub const TASK_RUNS: &str = "task_runs_total";
pub const TASK_DURATION: &str = "task_duration_seconds";
pub const MAIL_SENT: &str = "mail_sent_total";
pub const SYNC_RUNS: &str = "sync_runs_total";
pub const SYNC_LAST_GOOD: &str = "sync_last_success_timestamp";
pub const SYNC_DRIFT: &str = "sync_drift_changes";
pub const EVENTS_OPEN: &str = "events_open";
pub const WEBHOOKS: &str = "webhooks_total";

const HELP: &[(&str, &str)] = &[
    (HTTP_REQUESTS, "Requests answered, by route, method and status code"),
    (HTTP_DURATION, "Time from the headers of a request to the headers of its answer"),
    (HTTP_IN_FLIGHT, "Requests being answered"),
    (CONNECTIONS, "Open connections"),
    (CONNECTIONS_REFUSED, "Connections closed at once because a limit was reached"),
    (AUTH_FAILURES, "Requests refused for their token, by reason"),
    (PANICS, "Requests that ended in a panic"),
    (RELOAD_OK, "1 when the last reload of the configuration was taken, 0 when it was refused"),
    (BUILD_INFO, "1, with the version"),
    (TASK_RUNS, "Runs of background tasks, by task and outcome"),
    (MAIL_SENT, "Mails that came to an end, by result: sent, failed, indeterminate, skipped"),
    (SYNC_RUNS, "Reads of sources on their schedule, by source and how they ended"),
    (SYNC_DRIFT, "What the last read of everything found that the reads of changes had not told, by source"),
    (SYNC_LAST_GOOD, "When a source was last read and taken, in seconds since 1970"),
    (EVENTS_OPEN, "Events that nobody has acknowledged, by topic"),
    (WEBHOOKS, "Attempts to tell a webhook of an event, by webhook and result: told, failed"),
    (TASK_DURATION, "How long a run of a background task took"),
];

/// The recorder of this process. Call once; what is recorded before is lost.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    let buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &buckets)?
        .install_recorder()?;
    for (name, help) in HELP {
        if name.ends_with("_total") {
            metrics::describe_counter!(*name, *help);
        } else if name.ends_with("_seconds") {
            metrics::describe_histogram!(*name, *help);
        } else {
            metrics::describe_gauge!(*name, *help);
        }
    }
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1);
    metrics::gauge!(RELOAD_OK).set(1);
    Ok(handle)
}

/// Starts the log. A second call changes nothing (tests).
pub fn log(log: &Log) {
    let filter: Targets = log.filter.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let done = match chosen(log.format) {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Journald => match tracing_journald::layer() {
            Ok(journal) => registry.with(journal.with_syslog_identifier("musterd".to_owned())).try_init(),
            Err(_) => registry.with(lines.json().flatten_event(true)).try_init(),
        },
        LogFormat::Auto | LogFormat::Text => registry.with(lines.with_ansi(colours)).try_init(),
    };
    // Only a log that is there already can fail here.
    drop(done);
}

fn chosen(format: LogFormat) -> LogFormat {
    match format {
        LogFormat::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => LogFormat::Journald,
        LogFormat::Auto if std::io::stderr().is_terminal() => LogFormat::Text,
        LogFormat::Auto => LogFormat::Json,
        given => given,
    }
}

/// Metrics that this file promises, for the test that each is really emitted.
pub fn names() -> impl Iterator<Item = &'static str> {
    HELP.iter().map(|(name, _)| *name)
}

/// How the background tasks fare, for `readyz?verbose`. Clones share it.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    fares: BTreeMap<String, Fare>,
    open: BTreeMap<&'static str, i64>,
}

/// The last run of a task.
#[derive(Debug, Clone)]
pub struct Fare {
    pub at: Millis,
    pub took: Duration,
    pub good: bool,
}

impl Board {
    pub fn note(&self, task: &str, fare: Fare) {
        self.lock().fares.insert(task.to_owned(), fare);
    }

    /// When the task last ended, well or not.
    pub fn last(&self, task: &str) -> Option<Fare> {
        self.lock().fares.get(task).cloned()
    }

    /// Without messages: the probe is public, the log is not.
    pub fn shown(&self, now: Millis) -> BTreeMap<String, serde_json::Value> {
        let show = |fare: &Fare| {
            let state = if fare.good { "ok" } else { "failed" };
            serde_json::json!({"state": state, "seconds_ago": (now.0 - fare.at.0) / 1000})
        };
        self.lock().fares.iter().map(|(task, fare)| (task.clone(), show(fare))).collect()
    }

    /// So many events of the topic wait for somebody to acknowledge them.
    pub fn open(&self, topic: &'static str, events: i64) {
        self.lock().open.insert(topic, events);
    }

    pub fn events(&self) -> BTreeMap<&'static str, i64> {
        self.lock().open.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
