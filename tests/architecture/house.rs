//! Headers, sizes, and words that have no place in the code. Every rule names file and line.

use crate::none;
use crate::source::{all, is, root};

const CODE: [&str; 3] = ["src", "tests", "benches"];
/// A file that grows past this holds two ideas.
const LONGEST_FILE: usize = 500;
const LONGEST_MAP: usize = 250;

#[test]
fn every_file_opens_with_what_it_owns() {
    let without = all(&CODE).into_iter().filter(|file| !file.text.starts_with("//! ")).map(|file| file.path);
    none("files without a module header (`//!`)", &without.collect::<Vec<_>>());
}

#[test]
fn no_file_holds_two_ideas() {
    let long = all(&CODE).into_iter().map(|file| (file.text.lines().count(), file.path));
    let long = long.filter(|(lines, _)| *lines > LONGEST_FILE).map(|(lines, path)| format!("{path}: {lines} lines"));
    none("files over 500 lines", &long.collect::<Vec<_>>());
}

#[test]
fn nothing_is_silenced_or_left_open() {
    let banned: [&[&str]; 7] = [
        &["todo", "!"],
        &["unimplemented", "!"],
        &["dbg", "!"],
        &["#", "[", "allow"],
        &["#", "!", "[", "allow"],
        &["#", "[", "ignore"],
        &["unsafe", "{"],
    ];
    let mut faults = Vec::new();
    for file in all(&CODE) {
        for at in 0..file.tokens.len() {
            if let Some(words) = banned.iter().find(|words| is(&file.tokens[at..], words)) {
                faults.push(format!("{}:{}: {}", file.path, file.tokens[at].line, words.concat()));
            }
        }
    }
    none("silenced or left open (use #[expect(.., reason)] where a lint is wrong)", &faults);
}

#[test]
fn the_map_is_short_and_names_what_exists() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    assert!(text.lines().count() <= LONGEST_MAP, "ARCHITECTURE.md has more than {LONGEST_MAP} lines");
    let quoted = text.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|word| {
        ["src/", "tests/", "benches/", "config/", "docs/", "migrations/", "schemas/", "store/", "http/"]
            .iter()
            .any(|start| word.starts_with(start))
            && !word.contains(|c: char| c.is_whitespace() || "{}*<>".contains(c))
    });
    let gone = paths.filter(|path| !root().join(path).exists() && !root().join("src").join(path).exists());
    none("paths in ARCHITECTURE.md that do not exist", &gone.map(str::to_owned).collect::<Vec<_>>());
}
