//! `check`: the configuration and everything it points at, all faults at once. It writes nothing.

use serde_json::json;

use super::refuse;
use crate::app::Origin;
use crate::app::operate::Exit;

pub async fn check(origin: &Origin, json: bool) -> Exit {
    let config = match origin.load() {
        Ok(config) => config,
        Err(refused) if json => {
            let faults: Vec<_> = refused
                .0
                .iter()
                .map(|fault| {
                    json!({"key": fault.key, "value": fault.value, "allowed": fault.allowed, "origin": fault.origin})
                })
                .collect();
            println!("{}", json!({ "faults": faults }));
            return Exit::Config;
        }
        Err(refused) => return refuse(&refused),
    };
    if json {
        println!("{}", json!({"faults": [], "sources": config.sources.keys().collect::<Vec<_>>()}));
    } else {
        println!("the configuration is right: store {}, {} sources", config.store.shown, config.sources.len());
    }
    Exit::Fine
}
