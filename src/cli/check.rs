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
        let told = |(name, answer): &probe::Answer| match answer {
            Ok(probe) if probe.searches.is_empty() => (name.clone(), json!({"reached": probe.reached})),
            Ok(probe) => (name.clone(), json!(probe)),
            Err(reason) => (name.clone(), json!({"error": reason})),
        };
        let connections: serde_json::Map<_, _> = answers.iter().map(told).collect();
        let sources: Vec<_> = config.sources.keys().collect();
        println!("{}", json!({"faults": [], "sources": sources, "connections": connections}));
    } else {
        println!("the configuration is right: store {}, {} sources", config.store.shown, config.sources.len());
        for (name, answer) in answers {
            match answer {
                Ok(probe) => {
                    println!("  {name}: {} answers", plain(&probe.reached));
                    for looked in probe.searches {
                        let finds = looked.warning.unwrap_or_else(|| "finds somebody".to_owned());
                        println!("    {}: {}", looked.search, plain(&finds));
                    }
                }
                Err(reason) => println!("  {name}: {}", plain(&reason)),
            }
        }
    }
    exit
}
