//! How answers look to a person. Scripts use `--json`, which is never changed here.

use serde_json::Value;

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

/// What others wrote, on one line and from left to right: it must not look like more of the output.
fn plain(text: &str) -> String {
    let strange = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(strange) {
        return text.to_owned();
    }
    text.chars().map(|c| if strange(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// Characters of a cell that is not the last.
const WIDEST: usize = 80;

fn cut(cell: &str) -> String {
    match cell.char_indices().nth(WIDEST) {
        Some((at, _)) => format!("{}…", &cell[..at]),
        None => cell.to_owned(),
    }
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
        row.iter_mut().take(last).for_each(|cell| *cell = cut(cell));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_wrote_is_one_line_from_left_to_right() {
        assert_eq!(text(&json!("a\nb\u{202e}c\u{1b}[2J")), "a\\u{a}b\\u{202e}c\\u{1b}[2J");
        assert_eq!(text(&json!("Žižka")), "Žižka");
        assert_eq!(cut(&"é".repeat(81)).chars().count(), 81);
        assert_eq!(cut("short"), "short");
    }
}
