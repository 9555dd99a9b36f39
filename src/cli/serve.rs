//! `serve`: the daemon in the foreground.

use super::failed;
use crate::app::operate::Exit;
use crate::app::{self, Origin};
use crate::clock::Clock;
use crate::config::Config;
use crate::telemetry;

pub async fn serve(origin: Origin, config: Config) -> Exit {
    telemetry::log(&config.log);
    match app::run(origin, config, Clock::system()).await {
        Ok(()) => Exit::Fine,
        Err(error) => {
            tracing::error!(%error, "musterd ends");
            failed(&error)
        }
    }
}
