//! docs/requirements.md is true: every requirement has its row, every test named there exists, and `proved` stands only
//! where a test bears the number. A test bears R31 when its name has the word `r31` (`r39_to_r46` bears all eight).
//! `UPDATE=1 cargo test --test architecture requirements` writes the tests found into the table; the state is a person's
//! judgement and stays, except that a row without tests is `open`.

use std::collections::{BTreeMap, BTreeSet};

use crate::none;
use crate::source::{all, root};

/// Letter and last number of each series.
const SERIES: [(char, u32); 3] = [('A', 9), ('R', 97), ('B', 9)];
const STATES: [&str; 3] = ["proved", "partly", "open"];
const DOCUMENT: &str = "docs/requirements.md";

struct Row {
    number: String,
    words: String,
    state: String,
    tests: Vec<String>,
}

fn parse(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    let [number, words, state, tests] = cells.as_slice() else { return None };
    number.get(1..)?.parse::<u32>().ok()?;
    let tests = tests.split(',').map(|name| name.trim().trim_matches('`')).filter(|name| !name.is_empty());
    Some(Row {
        number: (*number).to_owned(),
        words: (*words).to_owned(),
        state: (*state).to_owned(),
        tests: tests.map(str::to_owned).collect(),
    })
}

/// The numbers that a test's name bears: `r31_x` -> R31; `r39_to_r46_x` -> R39 … R46; `a3_x` and `b2_x` alike. `a` and
/// `b` count only at the front, for they also appear in words.
fn numbers(name: &str) -> BTreeSet<String> {
    let words: Vec<&str> = name.split('_').collect();
    let number = |word: &str| -> Option<(char, u32)> {
        let letter = word.chars().next()?.to_ascii_uppercase();
        let digits = word.get(1..).filter(|digits| digits.chars().all(|c| c.is_ascii_digit()))?;
        let value = digits.parse().ok()?;
        SERIES.iter().any(|(series, last)| *series == letter && (1..=*last).contains(&value)).then_some((letter, value))
    };
    let mut found = BTreeSet::new();
    let mut front = true;
    for (at, word) in words.iter().enumerate() {
        let Some((letter, value)) = number(word) else {
            front &= matches!(*word, "to" | "and");
            continue;
        };
        if letter != 'R' && !front {
            continue;
        }
        let until =
            (words.get(at + 1) == Some(&"to")).then(|| words.get(at + 2).and_then(|word| number(word))).flatten();
        let last = until.filter(|(series, _)| *series == letter).map_or(value, |(_, last)| last);
        found.extend((value..=last).map(|value| format!("{letter}{value}")));
    }
    found
}

/// Every test, and the tests that bear a number.
fn tests() -> (BTreeSet<String>, BTreeMap<String, BTreeSet<String>>) {
    let (mut names, mut by_number) = (BTreeSet::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for file in all(&["src", "tests"]) {
        for token in file.tests() {
            for number in numbers(&token.text) {
                by_number.entry(number).or_default().insert(token.text.clone());
            }
            names.insert(token.text.clone());
        }
    }
    (names, by_number)
}

fn document() -> String {
    std::fs::read_to_string(root().join(DOCUMENT)).expect("docs/requirements.md")
}

#[test]
fn requirements_are_all_listed_once() {
    let text = document();
    let rows: Vec<Row> = text.lines().filter_map(parse).collect();
    let mut faults = Vec::new();
    for (letter, last) in SERIES {
        for value in 1..=last {
            let number = format!("{letter}{value}");
            let found = rows.iter().filter(|row| row.number == number).count();
            if found != 1 {
                faults.push(format!("{number}: {found} rows"));
            }
        }
    }
    faults.extend(rows.iter().filter(|row| row.words.is_empty()).map(|row| format!("{}: says nothing", row.number)));
    none("docs/requirements.md", &faults);
}

#[test]
fn requirements_name_tests_that_exist() {
    let (names, by_number) = tests();
    if std::env::var_os("UPDATE").is_some() {
        update(&by_number);
    }
    let mut faults = Vec::new();
    for row in document().lines().filter_map(parse) {
        let number = &row.number;
        if !STATES.contains(&row.state.as_str()) {
            faults.push(format!("{number}: the state is one of {STATES:?}, not `{}`", row.state));
        }
        faults.extend(
            row.tests.iter().filter(|name| !names.contains(*name)).map(|name| format!("{number}: no test `{name}`")),
        );
        let borne = row.tests.iter().any(|name| numbers(name).contains(number));
        if row.state == "proved" && !borne {
            faults.push(format!("{number}: proved, but it names no test that bears its number"));
        }
        if row.state != "open" && row.tests.is_empty() {
            faults.push(format!("{number}: {} without a test", row.state));
        }
    }
    none("docs/requirements.md (UPDATE=1 writes the tests found)", &faults);
}

/// Writes the tests found into their rows.
fn update(by_number: &BTreeMap<String, BTreeSet<String>>) {
    let mut out = String::new();
    for line in document().lines() {
        match parse(line) {
            Some(row) => {
                let tests: Vec<String> =
                    by_number.get(&row.number).into_iter().flatten().map(|name| format!("`{name}`")).collect();
                let state = match row.state.as_str() {
                    _ if tests.is_empty() => "open",
                    "open" => "partly",
                    state => state,
                };
                out.push_str(&format!("| {} | {} | {state} | {} |\n", row.number, row.words, tests.join(", ")));
            }
            None => out.push_str(&format!("{line}\n")),
        }
    }
    std::fs::write(root().join(DOCUMENT), out).expect("docs/requirements.md is written");
}

#[test]
fn numbers_are_read_from_names() {
    let shown = |name: &str| numbers(name).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(shown("r31_the_order_decides"), "R31");
    assert_eq!(shown("r39_to_r41_are_edges"), "R39 R40 R41");
    assert_eq!(shown("b2_r18_a_contact_of_a4_paper"), "B2 R18");
    assert_eq!(shown("a_r99_that_is_none"), "");
    assert_eq!(shown("a3_polls"), "A3");
}
