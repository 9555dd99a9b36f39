//! Stories of the engine as the operator meets it on the command line: preview, run, guard, approval and the trail, with a
//! real directory, on both databases. The rules themselves are tested in `src/reconcile`.

use serde_json::Value;

use super::support::both;
use super::support::daemon::{Daemon, Done};
use super::support::slapd::{ADMIN, BASE, Directory, PASSWORD, ldif, person};

fn answer(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_b2_b4_the_operator_previews_syncs_approves_and_asks_why() {
    both(|which| async move {
        let directory = Directory::start(&ldif(60, 3, 5)).await;
        let source = format!(
            "[sources.hq]\nkind = \"ldap\"\nrealm = \"agent\"\nurl = \"{}\"\ninsecure = true\nbase = \"{BASE}\"\n\
             bind_dn = \"{ADMIN}\"\npassword = \"{PASSWORD}\"\n",
            format_args!("ldap://127.0.0.1:{}", directory.port)
        );
        let daemon = Daemon::builder(which).config(&source).start().await;

        let plan = daemon.cli(&["plan", "hq", "--json"]);
        assert_eq!(plan.code, 2, "changes are pending: {plan:?}");
        let digest = answer(&plan)["digest"].as_str().expect("a digest").to_owned();
        assert_eq!(daemon.cli(&["sync", "hq", "--expect", "another"]).code, 1, "only what was previewed");
        let first = daemon.cli(&["sync", "hq", "--expect", &digest, "--json"]);
        assert_eq!((first.code, &answer(&first)["counts"]["create"]), (0, &serde_json::json!(63)), "{first:?}");
        assert_eq!(daemon.cli(&["plan", "hq"]).code, 0, "nothing is pending");

        let why = daemon.cli(&["why", "user", "p000001", "title"]);
        assert!(why.code == 0 && why.stdout.contains("Consultant") && why.stdout.contains("hq"), "{why:?}");

        // A third is gone: held, nothing applied, approved as it was shown.
        directory.delete((0..20).map(person)).await;
        let held = daemon.cli(&["sync", "hq", "--json"]);
        assert_eq!(held.code, 3, "{held:?}");
        let run = answer(&held)["run"].as_str().expect("its run").to_owned();
        assert!(daemon.cli(&["why", "user", "p000000", "title"]).stdout.contains("Consultant"));
        assert!(daemon.cli(&["runs"]).stdout.contains("held"));
        let shown = daemon.cli(&["run", &run]).stdout;
        assert!(shown.contains("p000000") && shown.contains("p000019") && !shown.contains("p000020"), "{shown}");
        assert_eq!(shown.matches("account active: true -> false").count(), 20, "what it would do: {shown}");
        let approved = daemon.cli(&["approve", &run, "--json"]);
        assert_eq!(
            (approved.code, &answer(&approved)["counts"]["disable"]),
            (0, &serde_json::json!(20)),
            "{approved:?}"
        );
        assert_ne!(daemon.cli(&["approve", &run]).code, 0, "once");
        assert_eq!(daemon.cli(&["plan", "hq"]).code, 0);

        assert_eq!(daemon.cli(&["plan", "nowhere"]).code, 64);
    })
    .await;
}

/// PostgreSQL has no U+0000 in a text: the one entry is refused by itself, on both databases.
#[tokio::test(flavor = "multi_thread")]
async fn a9_an_entry_that_no_store_can_hold_stops_nobody_else() {
    both(|which| async move {
        let directory = Directory::start(&ldif(20, 1, 5)).await;
        let source = format!(
            "[sources.hq]\nkind = \"ldap\"\nrealm = \"agent\"\nurl = \"{}\"\ninsecure = true\nbase = \"{BASE}\"\n\
             bind_dn = \"{ADMIN}\"\npassword = \"{PASSWORD}\"\n",
            directory.url()
        );
        let daemon = Daemon::builder(which).config(&source).start().await;
        assert_eq!(daemon.cli(&["sync", "hq"]).code, 0);
        directory.replace(&person(3), "cn", &["A\0B"]).await;
        directory.replace(&person(4), "title", &["Head"]).await;
        let partial = daemon.cli(&["sync", "hq", "--json"]);
        assert_eq!(partial.code, 4, "{partial:?}");
        let told = answer(&partial);
        assert_eq!(told["counts"]["update"], serde_json::json!(1), "{told}");
        let reason = told["refused"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("attributes.displayName") && reason.contains("U+0000"), "{told}");
        assert_eq!(daemon.cli(&["why", "user", "p000003", "active"]).code, 0, "it is still there");
        assert!(daemon.cli(&["why", "user", "p000004", "title"]).stdout.contains("Head"));
    })
    .await;
}
