//! Stories with an Active Directory (Samba's): what DirSync and uSNChanged say comes to what a whole read comes to, whatever
//! happens to people and groups. Long suites only: a domain takes ten seconds to make, and its ports are fixed.

use musterd::reconcile::End;

use super::super::support::process::is_root;
use super::super::support::samba::{ADMIN, DOMAIN, Domain, PASSWORD};
use super::super::support::{Which, long};
use super::modes::Pair;
use super::sync::{Hq, SYNC};

fn source(more: &str) -> String {
    format!(
        "url = '{}'\nbase = 'OU=Staff,{DOMAIN}'\nbind_dn = '{ADMIN}'\npassword = '{PASSWORD}'\ninsecure = true\n\
         preset = 'activedirectory'\nguard = {{ percent = 60, count = 60 }}\n{more}",
        Domain::url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_dirsync_and_usn_come_to_what_a_whole_read_comes_to() {
    if !long() || !is_root() {
        return;
    }
    let domain = Domain::start().await;
    for which in [Which::Sqlite, Which::Postgres] {
        for (mode, told) in
            [("", "dirsync (an Active Directory"), ("mode = 'usn'\nsweep_every = '1ms'", "usn (the conf")]
        {
            let before = domain.below(&format!("OU=Staff,{DOMAIN}")).await;
            for dn in before {
                domain.delete(&dn).await;
            }
            let (eva, wim, jan) = (domain.user("eva").await, domain.user("wim").await, domain.user("jan").await);
            let inner = domain.group("inner", &[&eva]).await;
            let outer = domain.group("outer", &[&wim, &inner]).await;
            let pair = Pair {
                wise: Hq::of(which, &source(mode)).await,
                plain: Hq::of(which, &source("mode = 'paged'")).await,
            };
            let said = pair.poll("everything").await;
            assert!(said.starts_with(told), "{said}");
            domain.replace(&eva, "title", &["Owner"]).await;
            pair.poll("a title").await;
            domain.replace(&wim, "userAccountControl", &["546"]).await;
            pair.poll("switched off").await;
            domain.rename(&jan, "CN=Jan Novy", None).await;
            pair.poll("a new name").await;
            domain.replace(&outer, "member", &[&eva]).await;
            domain.user("new").await;
            pair.poll("other members, and somebody new").await;
            domain.rename(&eva, "CN=eva", Some(&format!("OU=Left,{DOMAIN}"))).await;
            pair.poll("out of what is searched").await;
            domain.rename(&format!("CN=eva,OU=Left,{DOMAIN}"), "CN=eva", Some(&format!("OU=Staff,{DOMAIN}"))).await;
            domain.delete(&wim).await;
            pair.poll("back, and somebody deleted").await;
            domain.delete(&inner).await;
            pair.poll("a group deleted").await;
            assert_eq!(pair.wise.poll(SYNC).await.state, End::Done);
        }
    }
}
