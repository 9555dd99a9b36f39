//! Public SCIM suites against the running daemon, as they are: scim2-tester (through scim2-cli) and scim-sanity, which
//! tests/run installs. Whatever they find fails. Their counts are printed.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use super::support::both;
use super::support::daemon::Daemon;
use super::support::smtp::python;

const CONFIG: &str = "[sources.idp]\nkind = \"scim\"\nrealm = \"agent\"\n";

/// Without standard input and without colours.
fn run(program: &str, arguments: &[&str], token: &str) -> (Output, String) {
    let binary = python().with_file_name(program);
    let mut command = Command::new(binary);
    command.args(arguments).env("SCIM_CLI_HEADERS", format!("Authorization: Bearer {token}")).env("NO_COLOR", "1");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

#[tokio::test]
async fn b7_scim2_tester_finds_nothing() {
    both(async |which| {
        // Companies and contacts, too.
        let config = format!("{CONFIG}scim.resource_types = \"all\"\n");
        let daemon = Daemon::builder(which).config(&config).start().await;
        let token = daemon.token(&["--source", "idp", "--scope", "scim"]);
        let url = format!("{}/scim/v2", daemon.http.base);
        let (_, text) = run("scim2", &["--url", &url, "test"], &token);
        let lines: Vec<&str> = text.lines().collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut found = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let Some(status) =
                ["SUCCESS", "ERROR", "SKIPPED", "CRITICAL"].into_iter().find(|word| line.starts_with(word))
            else {
                continue;
            };
            *counts.entry(status).or_default() += 1;
            if matches!(status, "ERROR" | "CRITICAL") {
                found.push(format!("{line}: {}", lines[at + 1..].iter().take(4).copied().collect::<String>()));
            }
        }
        eprintln!("scim2-tester on {which:?}: {counts:?}");
        assert!(counts.get("SUCCESS").is_some_and(|count| *count > 100), "{text}");
        assert!(found.is_empty(), "{}", found.join("\n"));
    })
    .await;
}

#[tokio::test]
async fn b7_scim_sanity_passes() {
    both(async |which| {
        let daemon = Daemon::builder(which).config(CONFIG).start().await;
        let token = daemon.token(&["--source", "idp", "--scope", "scim"]);
        let url = format!("{}/scim/v2", daemon.http.base);
        let (output, text) = run("scim-sanity", &["probe", &url, "--token", &token, "--i-accept-side-effects"], &token);
        let summary = text.lines().find(|line| line.contains(" passed")).unwrap_or_default().trim();
        eprintln!("scim-sanity on {which:?}: {summary}");
        assert!(output.status.success() && !text.contains("[FAIL]"), "{text}");
        assert!(text.matches("[PASS]").count() > 20, "{text}");
    })
    .await;
}
