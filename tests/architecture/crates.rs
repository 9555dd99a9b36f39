//! Licences and banned crates, over what cargo says it builds on this platform, and no dependency that nobody names.
//! The program carries one TLS stack (rustls on ring): a second provider makes rustls refuse to choose and panic.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::none;
use crate::source::{all, root};

/// Permissive, or weak copyleft per file.
const LICENCES: [&str; 17] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

const BANNED: [&str; 7] =
    ["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys", "rustls-openssl", "rustls-mbedcrypto-provider"];

/// One version of each of these in the program.
const ONCE: [&str; 5] = ["rustls", "ring", "sqlx-core", "libsqlite3-sys", "tokio"];

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The packages that are built on this platform: (name, version, licence).
fn packages() -> Vec<(String, String, String)> {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let text = cargo(&["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host]);
    let metadata: Value = serde_json::from_slice(&text).expect("cargo metadata answers JSON");
    let built: BTreeSet<&str> =
        metadata["resolve"]["nodes"].as_array().into_iter().flatten().filter_map(|node| node["id"].as_str()).collect();
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let all = metadata["packages"].as_array().into_iter().flatten();
    let packages: Vec<_> = all
        .filter(|package| package["id"].as_str().is_some_and(|id| built.contains(id)))
        .map(|package| (text(package, "name"), text(package, "version"), text(package, "license")))
        .collect();
    assert!(packages.len() > 100, "cargo metadata names only {} packages", packages.len());
    packages
}

#[test]
fn licences_are_allowed_and_crates_not_banned() {
    let mut faults = Vec::new();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, version, licence) in packages() {
        if !allowed(&licence) {
            faults.push(format!("{name} {version}: licence `{licence}`"));
        }
        if BANNED.contains(&name.as_str()) {
            faults.push(format!("{name} {version} is banned: the one TLS stack is rustls on ring"));
        }
        versions.entry(name).or_default().push(version);
    }
    for name in ONCE {
        if versions.get(name).is_none_or(|found| found.len() != 1) {
            faults.push(format!("{name}: one version is wanted, found {:?}", versions.get(name)));
        }
    }
    none("dependencies", &faults);
}

/// SPDX: `OR` chooses, `AND` binds closer and wants both; the old `/` is an `OR`.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut depth = 0_i32;
    let words: Vec<&str> = expression.split_whitespace().collect();
    for operator in ["OR", "AND"] {
        for (at, word) in words.iter().enumerate() {
            depth += word.matches('(').count() as i32 - word.matches(')').count() as i32;
            if depth == 0 && *word == operator {
                let (left, right) = (words[..at].join(" "), words[at + 1..].join(" "));
                return if operator == "OR" {
                    allowed(&left) || allowed(&right)
                } else {
                    allowed(&left) && allowed(&right)
                };
            }
        }
    }
    let text = words.join(" ");
    match text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => allowed(inner),
        None => LICENCES.contains(&text.as_str()),
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    assert!(allowed("MIT OR GPL-3.0") && allowed("GPL-3.0/MIT") && allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(allowed("GPL-2.0 OR Apache-2.0 AND ISC"));
    assert!(!allowed("GPL-3.0") && !allowed("MIT AND GPL-3.0") && !allowed("(MIT OR ISC) AND GPL-3.0") && !allowed(""));
}

#[test]
fn every_dependency_is_named_somewhere() {
    let manifest: toml::Table =
        std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml").parse().expect("valid TOML");
    let sections = ["dependencies", "dev-dependencies"].map(|key| manifest[key].as_table().expect("a table"));
    let wanted: BTreeSet<String> =
        sections.iter().flat_map(|table| table.keys()).map(|key| key.replace('-', "_")).collect();
    let files = all(&["src", "tests", "benches"]);
    let named: BTreeSet<&str> = files.iter().flat_map(|file| &file.tokens).map(|token| token.text.as_str()).collect();
    let idle: Vec<String> = wanted.into_iter().filter(|name| !named.contains(name.as_str())).collect();
    none("dependencies that no file names", &idle);
}
