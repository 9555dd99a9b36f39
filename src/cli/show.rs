//! How answers look to a person. Scripts use `--json`, which is never changed here.

use serde_json::Value;

use crate::model::plain::{cut, plain};

pub fn token(answer: &Value) {
    println!("{}", text(&answer["token"]));
    eprintln!("token {} with {}, until {}.", text(&answer["id"]), list(&answer["scopes"]), text(&answer["expires"]));
    eprintln!("It is shown this once; only its hash is kept.");
}

pub fn tokens(answer: &Value) {
    let rows = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |token: &Value| {
        let columns = ["id", "state", "source", "expires", "last_used"].map(|key| text(&token[key]));
        [columns.to_vec(), vec![list(&token["scopes"]), text(&token["label"])]].concat()
    };
    table(&["ID", "STATE", "SOURCE", "EXPIRES", "LAST USED", "SCOPES", "LABEL"], rows.iter().map(row).collect());
}

pub fn revoked(answer: &Value) {
    println!("revoked {}", text(&answer["revoked"]));
}

pub fn migrated(answer: &Value) {
    match answer["applied"].as_array().map(Vec::as_slice) {
        Some([]) | None => println!("the schema is up to date"),
        Some(names) => names.iter().for_each(|name| println!("applied {}", text(name))),
    }
}

pub fn backup(answer: &Value) {
    println!("{} ({} bytes)", text(&answer["file"]), answer["bytes"]);
}

/// A value as plain text; nothing for null.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

/// Characters of a cell that is not the last.
const WIDEST: usize = 80;
/// Characters of a last cell, or of a line; `--json` has it whole.
const LONGEST: usize = 500;

/// A line of text that may hold what others wrote.
pub fn line(text: &str) -> String {
    cut(&plain(text), LONGEST)
}

pub fn list(value: &Value) -> String {
    value.as_array().map(|items| items.iter().map(text).collect::<Vec<_>>().join(" ")).unwrap_or_default()
}

/// `create 3, update 1`.
pub fn counts(value: &Value) -> String {
    let parts = value.as_object().into_iter().flatten().map(|(name, count)| format!("{name} {count}"));
    let text = parts.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "nothing".to_owned() } else { text }
}

/// Columns as wide as their widest cell, the last one free.
pub fn table(heads: &[&str], mut rows: Vec<Vec<String>>) {
    for row in &mut rows {
        let last = row.len().saturating_sub(1);
        for (at, cell) in row.iter_mut().enumerate() {
            *cell = cut(&plain(cell), if at < last { WIDEST } else { LONGEST });
        }
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(heads.to_vec());
    for row in &rows {
        line(row.iter().map(String::as_str).collect());
    }
}
