//! `plan`, `sync`, `approve`, `undo`: the answer as a table for people, to the last field.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::show::{line, table, text};
use super::{ask, show};
use crate::app::Origin;
use crate::app::operate::{Command, Exit};
use crate::model::desired::Ref;
use crate::model::document::{self, Document};

pub async fn run(origin: &Origin, command: Command, json: bool) -> Exit {
    let bar = bar();
    let heard = |beat: &Value| {
        let message = format!("{} … {} s", text(&beat["source"]), beat["seconds"]);
        match &bar {
            Some(bar) => bar.set_message(message),
            // A line now and then is enough for a log.
            None if beat["seconds"].as_u64().is_some_and(|seconds| seconds > 0 && seconds % 10 == 0) => {
                eprintln!("musterd: {message}");
            }
            None => {}
        }
    };
    let reply = ask::ask_with(origin, command, heard).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    match reply {
        Ok(reply) => ask::print(&reply, json, report),
        Err(exit) => exit,
    }
}

fn bar() -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    Some(bar)
}

/// A report of the engine.
fn report(answer: &Value) {
    if answer["changes"].as_array().is_some_and(|changes| !changes.is_empty()) {
        changes(&answer["changes"]);
    }
    for refused in answer["refused"].as_array().into_iter().flatten() {
        let who = [text(&refused["kind"]), text(&refused["key"])].join(" ");
        println!("refused {}: {}", who.trim(), line(&text(&refused["reason"])));
    }
    for stop in answer["stops"].as_array().into_iter().flatten() {
        let what = text(&stop["what"]);
        if let Some(reason) = stop["reason"].as_str() {
            println!("guard: {reason}: {} changes wait", stop["losses"]);
            continue;
        }
        println!("guard: {what}: {} of {} would go, the limit is {}", stop["losses"], stop["held"], stop["limit"]);
    }
    let went_well = matches!(answer["state"].as_str(), Some("done" | "planned"));
    if went_well && answer["stops"].as_array().is_none_or(Vec::is_empty) && !answer["message"].is_null() {
        println!("read by {}", line(&text(&answer["message"])));
    }
    for remark in answer["remarks"].as_array().into_iter().flatten() {
        println!("note: {}", line(&text(remark)));
    }
    undone(answer);
    if answer["state"] == "failed" {
        // Why stands on standard error.
        return println!("failed: nothing was concluded, nothing changed");
    }
    println!("{}: {}", text(&answer["state"]), show::counts(&answer["counts"]));
    match &answer["run"] {
        Value::Null if answer["undone"].is_string() => {}
        Value::Null => println!("digest {}", text(&answer["digest"])),
        run => println!("run {}", text(run)),
    }
}

/// What an undoing says beside its changes.
fn undone(answer: &Value) {
    let since = answer["since"].as_array().map(Vec::as_slice).unwrap_or_default();
    for since in since {
        let by = match &since["by"] {
            Value::Null => String::new(),
            by => format!(", by {} in {} at {}", text(&by["actor"]), text(&by["run"]), text(&by["at"])),
        };
        let what = line(&fields(&since["left"], &since["found"]).join(", "));
        println!("changed since: {} {} {what}{by}", text(&since["kind"]), text(&since["label"]));
    }
    if let Some(more) = answer["changed_since"].as_u64().map(|all| all.saturating_sub(since.len() as u64))
        && more > 0
    {
        println!("… and {more} more that were changed since");
    }
    for (what, count) in answer["stays"].as_object().into_iter().flatten() {
        let what = if what == "invite" { "invitations that were sent" } else { "credentials that were set" };
        println!("{what}: {count}, which cannot be taken back");
    }
    if answer["paused"] == true {
        let source = text(&answer["source"]);
        println!("{source} is paused: see to what it says (`musterd plan {source}`), then `musterd resume {source}`");
    }
}

/// What is planned, to the last field.
pub fn changes(planned: &Value) {
    table(&["OP", "KIND", "WHO", "WHAT"], planned.as_array().into_iter().flatten().flat_map(rows).collect());
}

/// One line for the change, one more for every further field.
fn rows(change: &Value) -> Vec<Vec<String>> {
    let fields = fields(&change["before"], &change["after"]);
    let head = |what: String| vec![text(&change["op"]), text(&change["kind"]), text(&change["label"]), what];
    let rest = |what: String| vec![String::new(), String::new(), String::new(), what];
    let mut fields = fields.into_iter();
    let first = head(fields.next().unwrap_or_default());
    std::iter::once(first).chain(fields.map(rest)).collect()
}

/// `name.familyName: "Nová" -> "Malá"`.
pub fn fields(before: &Value, after: &Value) -> Vec<String> {
    let empty = Document::new();
    let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let old = document::leaves(before);
    let mut lines: Vec<String> = Vec::new();
    // What the engine keeps beside the attributes: only where it says more than they do.
    let told = |path: &[&str], value: &Value| match path.first() {
        Some(&"$holder" | &"$links") => false,
        Some(&"$state") => value != "live" || before.contains_key("$state"),
        Some(&"$active") => after.get("active") != Some(value),
        _ => true,
    };
    lines.extend(linked(before, after));
    for (path, value) in document::leaves(after).into_iter().filter(|(path, value)| told(path, value)) {
        let was = old.iter().find(|(other, _)| *other == path).map(|(_, value)| format!("{value} -> "));
        lines.push(format!("{}: {}{value}", plain(&path), was.unwrap_or_default()));
    }
    let gone = old.iter().filter(|(path, _)| !matches!(path.first(), Some(&"$holder" | &"$links")));
    let gone = gone.filter(|(path, _)| !document::leaves(after).iter().any(|(other, _)| other == path));
    lines.extend(gone.map(|(path, value)| format!("{}: {value} -> (none)", plain(path))));
    lines
}

/// `member: eva, jan`, and `member: eva -> (none)` of whom it goes.
fn linked(before: &Document, after: &Document) -> Vec<String> {
    let rels = |document: &Document| document.get("$links").and_then(Value::as_object).cloned().unwrap_or_default();
    let (old, new) = (rels(before), rels(after));
    let mut lines = Vec::new();
    for (rel, targets) in &new {
        let targets = || targets.as_object().into_iter().flatten();
        let come = targets().filter(|(_, value)| !value.is_null());
        // The attributes of a row, where it has any.
        let come = come.map(
            |(target, value)| if value.is_object() { format!("{} {value}", named(target)) } else { named(target) },
        );
        let come: Vec<String> = come.collect();
        if !come.is_empty() {
            lines.push(format!("{rel}: {}", come.join(", ")));
        }
        let goes: Vec<String> =
            targets().filter(|(_, value)| value.is_null()).map(|(target, _)| named(target)).collect();
        if !goes.is_empty() {
            lines.push(format!("{rel}: {} -> (none)", goes.join(", ")));
        }
    }
    let goes = |(rel, targets): (&String, &Value)| {
        let goes: Vec<String> = targets.as_object().into_iter().flatten().map(|(target, _)| named(target)).collect();
        format!("{rel}: {} -> (none)", goes.join(", "))
    };
    lines.extend(old.iter().filter(|(rel, _)| !new.contains_key(*rel)).map(goes));
    lines
}

/// The far end of a relation as it is stored.
fn named(target: &str) -> String {
    Ref::of_stored(target).map_or_else(|| target.to_owned(), |end| who(&end))
}

/// In as few words as its source has for it: of a DN the name in it.
pub fn who(end: &Ref) -> String {
    match end {
        Ref::Id(id) => id.to_string(),
        Ref::Key(_, key) => key.clone(),
        Ref::Match { value, .. } => value.clone(),
        Ref::Alias(alias) => {
            let mut escaped = false;
            let ends = |c: char| {
                let ends = c == ',' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            };
            let first = alias.split(ends).next().unwrap_or(alias);
            first.split_once('=').map_or(first, |(_, value)| value).to_owned()
        }
    }
}

/// The name of a field, in plain words where it is none of the account's own.
fn plain(path: &[&str]) -> String {
    let shown = document::shown(path);
    match shown.strip_prefix('$') {
        Some("active") => "account active".to_owned(),
        Some("state") => "account".to_owned(),
        Some(rest) => rest.to_owned(),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn b1_every_field_of_a_change_is_shown() {
        let before = json!({"name": {"familyName": "Nová"}, "title": "x"});
        let after = json!({"name": {"familyName": "Malá"}, "active": true});
        assert_eq!(
            fields(&before, &after),
            ["active: true", r#"name.familyName: "Nová" -> "Malá""#, r#"title: "x" -> (none)"#]
        );
        let created =
            json!({"$active": true, "$state": "live", "$holder": {"hq": "3316"}, "active": true, "title": "x"});
        assert_eq!(fields(&json!({}), &created), ["active: true", r#"title: "x""#]);
        let left = json!({"$active": false, "$holder": {"hq": null}});
        let before = json!({"$active": true, "$holder": {"hq": "3316"}});
        assert_eq!(fields(&before, &left), ["account active: true -> false"]);
    }
    #[test]
    fn relations_are_told_by_the_names_in_them() {
        let (eva, jan, max) = ("alias:uid=eva,ou=people,dc=x", "key:user:7", "alias:cn=novák\\, max,dc=x");
        let before = json!({"$links": {"member": {jan: true}}});
        let after = json!({"$links": {"member": {eva: true, jan: null, max: true}}, "title": "x"});
        assert_eq!(fields(&before, &after), ["member: novák\\, max, eva", "member: 7 -> (none)", "title: \"x\""]);
        let role = json!({"$links": {"belongs_to": {"key:company:9": {"role": "Owner"}}}});
        assert_eq!(fields(&Value::Null, &role), [r#"belongs_to: 9 {"role":"Owner"}"#]);
        assert_eq!(fields(&role, &Value::Null), ["belongs_to: 9 -> (none)"]);
    }
}
