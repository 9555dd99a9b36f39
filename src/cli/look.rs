//! `runs`, `run`, `why`, `licences`, `mail outbox`, `events`: how their answers look to a person.

use serde_json::Value;

use super::show::{counts, line, table, text};
use super::source;
use crate::model::desired::Ref;

pub fn runs(answer: &Value) {
    let row = |run: &Value| {
        let told = [counts(&run["counts"]), text(&run["message"])].join(" ");
        vec![text(&run["id"]), text(&run["source"]), text(&run["state"]), text(&run["started"]), told]
    };
    table(&["RUN", "SOURCE", "STATE", "STARTED", "WHAT"], rows(&answer["runs"], row));
    println!();
    let row = |state: &Value| ["source", "state", "last_at", "last_good_at"].map(|key| text(&state[key])).to_vec();
    table(&["SOURCE", "LAST STATE", "LAST", "LAST GOOD"], rows(&answer["sources"], row));
}

pub fn run(answer: &Value) {
    let run = &answer["run"];
    println!("{} of {}: {}, {}", text(&run["id"]), text(&run["source"]), text(&run["state"]), counts(&run["counts"]));
    if !run["message"].is_null() {
        println!("{}", line(&text(&run["message"])));
    }
    let row = |change: &Value| {
        let fields = source::fields(&change["before"], &change["after"]).join(", ");
        let mut cells = ["at", "actor", "op", "kind", "label"].map(|key| text(&change[key])).to_vec();
        cells.push(fields);
        cells
    };
    if answer["would"].as_array().is_some_and(|would| !would.is_empty()) {
        source::changes(&answer["would"]);
        for moved in answer["moved"].as_array().into_iter().flatten() {
            println!("changed since it was held: {}", line(&text(moved)));
        }
        return;
    }
    if answer["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty()) {
        let row = |item: &Value| ["says", "kind", "who", "key"].map(|key| text(&item[key])).to_vec();
        return table(&["SOURCE SAYS", "KIND", "WHO", "KEY"], rows(&answer["waiting"], row));
    }
    table(&["AT", "ACTOR", "OP", "KIND", "WHO", "WHAT"], rows(&answer["changes"], row));
}

pub fn why(answer: &Value) {
    for user in answer.as_array().into_iter().flatten() {
        println!("{}", text(&user["id"]));
        let from = |why: &Value| {
            let says = |saying: &Value| {
                format!("{} in {} at {}", text(&saying["source"]), text(&saying["run"]), text(&saying["at"]))
            };
            let sources: Vec<String> = why["from"].as_array().into_iter().flatten().map(says).collect();
            let other = |saying: &Value| format!("{} says {}", text(&saying["source"]), saying["value"]);
            let overruled: Vec<String> = why["overruled"].as_array().into_iter().flatten().map(other).collect();
            vec![text(&why["attribute"]), why["value"].to_string(), sources.join(", "), overruled.join(", ")]
        };
        table(&["ATTRIBUTE", "VALUE", "FROM", "OVERRULED"], rows(&user["attributes"], from));
    }
}

pub fn licences(answer: &Value) {
    let row = |licence: &Value| {
        let to: Vec<String> = licence["may_become"].as_array().into_iter().flatten().map(text).collect();
        vec![text(&licence["licence"]), to.join(", ")]
    };
    table(&["LICENCE", "MAY BECOME"], rows(answer, row));
}

pub fn outbox(answer: &Value) {
    let row =
        |mail: &Value| ["id", "kind", "state", "attempts", "created", "error"].map(|key| text(&mail[key])).to_vec();
    table(&["ID", "KIND", "STATE", "ATTEMPTS", "CREATED", "ERROR"], rows(answer, row));
}

pub fn trials(answer: &Value) {
    for trial in answer.as_array().into_iter().flatten() {
        if trial["raw"].is_null() {
            println!("{}: not found by {}", text(&trial["kind"]), text(&trial["filter"]));
            continue;
        }
        println!("{}: found by {}", text(&trial["kind"]), text(&trial["filter"]));
        let pairs = |value: &Value| {
            let all = value.as_object().into_iter().flatten();
            all.map(|(name, value)| vec![name.clone(), text(value)]).collect()
        };
        table(&["ATTRIBUTE", "SAYS"], pairs(&trial["raw"]));
        println!();
        table(&["TARGET", "RULE"], pairs(&trial["rules"]));
        println!();
        match (&trial["record"]["Present"], &trial["record"]["Bad"]) {
            (Value::Null, Value::Null) => println!("nothing becomes of it: its rules leave it out"),
            (Value::Null, bad) => println!("it cannot be taken: {}", line(&text(&bad["reason"]))),
            (record, _) => {
                let mut lines = source::fields(&Value::Null, &record["attributes"]);
                let relations = record["relations"].as_object().into_iter().flatten();
                lines.extend(relations.map(|(name, targets)| format!("{name}: {}", ends(targets))));
                for told in lines {
                    println!("{}", line(&told));
                }
            }
        }
    }
}

/// `eva, jan`: at whom a relation points.
fn ends(targets: &Value) -> String {
    let all = targets["Whole"].as_array().map(Vec::as_slice).unwrap_or_default();
    let end = |target: &Value| serde_json::from_value::<Ref>(target["to"].clone()).ok();
    let all: Vec<String> = all.iter().filter_map(end).map(|end| source::who(&end)).collect();
    if all.is_empty() { "(none)".to_owned() } else { all.join(", ") }
}

pub fn sources(answer: &Value) {
    let row = |source: &Value| {
        let state = if source["paused"] == true { "paused".to_owned() } else { text(&source["state"]) };
        let mut cells = vec![text(&source["source"]), text(&source["kind"]), state];
        cells.extend(["last_at", "last_good_at", "next_at"].map(|key| text(&source[key])));
        let drift = match source["drift"]["changes"].as_u64() {
            None | Some(0) => String::new(),
            Some(changes) => format!("(drift {changes})"),
        };
        let what = [counts(&source["counts"]), text(&source["message"]), drift].join(" ");
        cells.push(what.trim_end().to_owned());
        cells
    };
    table(&["SOURCE", "KIND", "STATE", "LAST", "LAST GOOD", "NEXT", "WHAT"], rows(answer, row));
}

pub fn paused(answer: &Value) {
    let state = if answer["paused"] == true { "is paused" } else { "is read on its schedule" };
    println!("{} {state}", text(&answer["source"]));
}

pub fn events(answer: &Value) {
    let told = |delivery: &Value| {
        let error =
            if delivery["error"].is_null() { String::new() } else { format!(" ({})", text(&delivery["error"])) };
        format!("{} {}{error}", text(&delivery["webhook"]), text(&delivery["told"]))
    };
    let row = |event: &Value| {
        let mut cells =
            ["id", "topic", "subject", "changes", "raised", "changed"].map(|key| text(&event[key])).to_vec();
        cells.push(event["deliveries"].as_array().into_iter().flatten().map(told).collect::<Vec<_>>().join(", "));
        cells
    };
    table(&["EVENT", "TOPIC", "SUBJECT", "CHANGES", "RAISED", "CHANGED", "TOLD"], rows(&answer["items"], row));
    if answer["more"] == true {
        println!("… and more: GET /api/v1/events has them page by page");
    }
}

pub fn acknowledged(answer: &Value) {
    println!("{} of {} is acknowledged", text(&answer["topic"]), text(&answer["subject"]));
}

fn rows(value: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    value.as_array().into_iter().flatten().map(row).collect()
}
