//! The pages on identity providers do as they say: each is followed from its configuration to its last request, by bash and
//! curl as a reader would, and every answer is the one that the page names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::both;
use super::support::daemon::Daemon;

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/identity-providers");
    let files = std::fs::read_dir(folder).expect("the folder of pages").map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|is| is == "md")).collect();
    pages.sort();
    pages
}

/// The blocks of a language, one after the other.
fn blocks(text: &str, language: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(word) => inside = !inside && word.trim() == language,
            None if inside => out.extend([line, "\n"]),
            None => {}
        }
    }
    out
}

/// `# expect 200 404: text` -> what the commands before it print.
fn expected(script: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for said in script.lines().filter_map(|line| line.strip_prefix("# expect ")) {
        let (statuses, text) = said.split_once(": ").map_or((said, None), |(statuses, text)| (statuses, Some(text)));
        lines.extend(statuses.split(' ').map(str::to_owned));
        lines.extend(text.map(str::to_owned));
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_every_page_of_a_provider_can_be_followed() {
    both(async |which| {
        let mut followed = 0;
        for page in pages() {
            let text = std::fs::read_to_string(&page).unwrap();
            let name = page.file_stem().unwrap().to_string_lossy().into_owned();
            if name == "README" {
                continue;
            }
            let (config, script) = (blocks(&text, "toml"), blocks(&text, "sh"));
            let wanted = expected(&script);
            assert!(wanted.len() > 10, "{name} expects only {wanted:?}");
            let daemon = Daemon::builder(which).config(&config).start().await;
            let token = daemon.token(&["--source", &name, "--scope", "scim"]);
            let base = format!("{}/scim/v2", daemon.http.base);
            let mut bash = Command::new("bash");
            bash.args(["-c", &script]).env("TOKEN", token).env("BASE", base).stdin(Stdio::null());
            let output = bash.output().expect("bash is there");
            let told = String::from_utf8_lossy(&output.stderr);
            let found: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
            assert_eq!(found, wanted, "{name}: {told}");
            assert!(told.is_empty(), "{name}: {told}");
            followed += 1;
        }
        assert!(followed >= 7, "{followed} pages");
    })
    .await;
}

#[test]
fn a_page_is_read_as_it_is_written() {
    let page =
        "a\n```toml\nx = 1\n```\n```sh\none\n# expect 200: [\"a: b\"]\n# expect 204 404\n```\n```console\nno\n```\n";
    assert_eq!(blocks(page, "toml"), "x = 1\n");
    assert_eq!(expected(&blocks(page, "sh")), ["200", "[\"a: b\"]", "204", "404"]);
}
