//! `demo`: everything on loopback, in a temporary folder, until Ctrl-C.

use crate::app::operate::Exit;
use crate::demo::tour;

pub async fn demo(json: bool) -> Exit {
    match tour::run(json).await {
        Ok(()) => Exit::Fine,
        Err(error) => {
            eprintln!("musterd: the demo could not go on: {error:#}");
            Exit::Failed
        }
    }
}
