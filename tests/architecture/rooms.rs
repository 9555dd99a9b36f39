//! Who may name whom, and who owns which crate: the table in ARCHITECTURE.md is the rule, so the page and the code cannot
//! drift apart. Tests may name anything. Crates that no row lists belong to everybody.

use std::collections::{BTreeMap, BTreeSet};

use crate::none;
use crate::source::{File, Token, all, is, root};

/// What the table says of one room.
struct Room {
    /// `None`: everything.
    may_use: Option<BTreeSet<String>>,
    crates: BTreeSet<String>,
}

fn table() -> BTreeMap<String, Room> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows = text.lines().skip_while(|line| !line.starts_with("| module | may use |")).skip(2);
    let mut rooms = BTreeMap::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        for name in words(cells[0]) {
            let may_use = (cells[1] != "everything").then(|| words(cells[1]));
            let crates = words(cells[2]).into_iter().map(|name| name.replace('-', "_")).collect();
            rooms.insert(name, Room { may_use, crates });
        }
    }
    assert!(rooms.len() > 10, "the table was not found");
    rooms
}

fn words(cell: &str) -> BTreeSet<String> {
    cell.split(',').map(str::trim).filter(|word| !matches!(*word, "–" | "")).map(str::to_owned).collect()
}

/// The code of `src/` without its tests: (file, room, tokens).
fn code(files: &[File]) -> Vec<(&File, &str, Vec<Token>)> {
    let mut only_tests: Vec<Vec<String>> = Vec::new();
    let mut out = Vec::new();
    for file in files {
        let (tokens, modules) = file.without_tests();
        let here: Vec<String> = file.module().iter().map(ToString::to_string).collect();
        only_tests.extend(modules.into_iter().map(|name| [here.clone(), vec![name]].concat()));
        if let Some(room) = file.module().first().copied() {
            out.push((file, room, tokens));
        }
    }
    out.retain(|(file, ..)| !only_tests.iter().any(|path| file.module().starts_with(&refs(path))));
    out
}

fn refs(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// The names that directly follow a `crate::`, or as many `super::` as lead to the root, with their lines.
fn rooms_named(module: &[&str], tokens: &[Token]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let continues = at > 0 && tokens[at - 1].text == "::";
        let mut next = at;
        if is(&tokens[at..], &["crate", "::"]) {
            next = at + 2;
        } else if tokens[at].text == "super" && !continues {
            let mut levels = 0;
            while is(&tokens[next..], &["super", "::"]) {
                (levels, next) = (levels + 1, next + 2);
            }
            if levels != module.len() {
                next = at;
            }
        }
        if next > at {
            heads(&tokens[next..], &mut found);
        }
        at = next.max(at + 1);
    }
    found
}

/// `a::b` -> a; `{a::b, c, d::{e}}` -> a, c, d.
fn heads(tokens: &[Token], into: &mut Vec<(String, usize)>) {
    let Some(first) = tokens.first() else { return };
    if first.text != "{" {
        into.push((first.text.clone(), first.line));
        return;
    }
    let (mut depth, mut expects) = (0, false);
    for token in tokens {
        match token.text.as_str() {
            "{" => (depth, expects) = (depth + 1, depth == 0),
            "}" => depth -= 1,
            "," => expects = depth == 1,
            _ if expects => {
                into.push((token.text.clone(), token.line));
                expects = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

#[test]
fn rooms_name_only_whom_the_table_allows() {
    let (rooms, files) = (table(), all(&["src"]));
    let mut faults = Vec::new();
    for (file, room, tokens) in code(&files) {
        let Some(rule) = rooms.get(room) else {
            faults.push(format!("{}: room `{room}` is not in the table of ARCHITECTURE.md", file.path));
            continue;
        };
        let Some(may_use) = &rule.may_use else { continue };
        for (named, line) in rooms_named(&file.module(), &tokens) {
            let is_room = rooms.contains_key(&named) || named == "*" || named == "self";
            if is_room && named != room && !may_use.contains(&named) {
                faults.push(format!("{}:{line}: `{room}` must not name `{named}`", file.path));
            }
        }
    }
    none("against the table in ARCHITECTURE.md", &faults);
}

#[test]
fn crates_are_named_only_by_their_owners() {
    let (rooms, files) = (table(), all(&["src"]));
    let owned: BTreeSet<&String> = rooms.values().flat_map(|room| &room.crates).collect();
    let mut faults = Vec::new();
    for (file, room, tokens) in code(&files) {
        let Some(Room { may_use: Some(_), crates }) = rooms.get(room) else { continue };
        let local = local_names(&tokens);
        for at in 0..tokens.len() {
            let name = &tokens[at].text;
            let starts = at == 0 || tokens[at - 1].text != "::" || (at > 1 && tokens[at - 2].text == "use");
            let path = tokens.get(at + 1).is_some_and(|next| next.text == "::");
            if starts && path && owned.contains(name) && !crates.contains(name) && !local.contains(name.as_str()) {
                faults.push(format!("{}:{}: `{room}` does not own the crate `{name}`", file.path, tokens[at].line));
            }
        }
    }
    none("against the table in ARCHITECTURE.md", &faults);
}

/// Names that mean something of ours in this file, whatever crates are called: `use crate::config;`, `mod cron;`.
fn local_names(tokens: &[Token]) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut ours = false;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "use" => {
                ours = tokens.get(at + 1).is_some_and(|next| matches!(next.text.as_str(), "crate" | "super" | "self"));
            }
            ";" => ours = false,
            "mod" => names.extend(tokens.get(at + 1).map(|next| next.text.as_str())),
            text if ours && tokens.get(at + 1).is_none_or(|next| next.text != "::") => {
                names.insert(text);
            }
            _ => {}
        }
    }
    names
}

#[test]
fn the_table_names_only_rooms_that_exist() {
    let gone: Vec<String> = table()
        .into_keys()
        .filter(|room| !root().join("src").join(room).is_dir() && !root().join(format!("src/{room}.rs")).is_file())
        .collect();
    none("rooms in ARCHITECTURE.md that do not exist", &gone);
}

#[test]
fn paths_are_seen_however_they_are_written() {
    let module = ["http", "api", "users"];
    let named = |text: &str| -> Vec<String> {
        rooms_named(&module, &crate::source::lex(text)).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(
        named("use crate::{model::{a, b}, store, scim::*}; crate::mail::x()"),
        ["model", "store", "scim", "mail"]
    );
    assert_eq!(named("use super::super::super::cli::x; use super::list; super::super::y()"), ["cli"]);
    assert_eq!(named("let a = $crate::app::run;"), ["app"]);
    let tokens =
        crate::source::lex("use crate::model::{config, Kind}; use super::cron as c; mod inner {} use axum::x;");
    let local = local_names(&tokens);
    assert!(local.contains("config") && local.contains("inner") && !local.contains("axum") && !local.contains("x"));
}
