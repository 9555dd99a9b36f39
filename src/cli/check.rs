//! `check`: the configuration and everything it points at, all faults at once. It writes nothing.

use serde_json::json;

use super::refuse;
use crate::app::operate::Exit;
use crate::app::{Origin, probe};
use crate::model::plain::plain;

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
    let answers = probe::all(&config).await;
    let exit = if answers.iter().all(|(_, answer)| answer.is_ok()) { Exit::Fine } else { Exit::Failed };
    if json {
        let told = |(name, answer): &(String, Result<String, String>)| match answer {
            Ok(url) => (name.clone(), json!({"reached": url})),
            Err(reason) => (name.clone(), json!({"error": reason})),
        };
        let connections: serde_json::Map<_, _> = answers.iter().map(told).collect();
        let sources: Vec<_> = config.sources.keys().collect();
        println!("{}", json!({"faults": [], "sources": sources, "connections": connections}));
    } else {
        println!("the configuration is right: store {}, {} sources", config.store.shown, config.sources.len());
        for (name, answer) in answers {
            match answer {
                Ok(url) => println!("  {name}: {} answers", plain(&url)),
                Err(reason) => println!("  {name}: {}", plain(&reason)),
            }
        }
    }
    exit
}
