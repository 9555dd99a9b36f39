//! Complaints of names and bytes that did not come through: commas, quotes and stars in distinguished names and filters,
//! binary identities, photos and certificates. The numbers are those of `complaints`.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ldap3::Mod;
use ldap3_proto::proto::LdapFilter;
use musterd::model::desired::Nothing;
use musterd::reconcile::End;
use musterd::store::Session as _;
use sha2::{Digest as _, Sha256};

use super::super::super::support::both;
use super::super::super::support::scripted::{Scripted, entry, find, with};
use super::super::super::support::slapd::{BASE, Directory, ldif, person};
use super::super::sync::{Hq, SYNC};
use super::super::{present, read_all, reader, section};
use super::{UNGUARDED, account, active, done, members, people};

/// A name, as it is written in a distinguished name (RFC 4514), and as in a filter (RFC 4515).
const NAMES: [(&str, &str, &str); 12] = [
    ("Nováková, Eva", "Nováková\\, Eva", "Nov\\c3\\a1kov\\c3\\a1, Eva"),
    ("a+b", "a\\+b", "a+b"),
    ("say \"hi\"", "say \\\"hi\\\"", "say \"hi\""),
    ("back\\slash", "back\\\\slash", "back\\5cslash"),
    ("#hash", "\\#hash", "#hash"),
    (" leading", "\\ leading", "\\20leading"),
    ("star*(paren)", "star*(paren)", "star\\2a\\28paren\\29"),
    ("starlight", "starlight", "starl*t"),
    ("semi;colon", "semi\\;colon", "semi;colon"),
    ("<less>", "\\<less\\>", "<less>"),
    ("x=y", "x\\3dy", "x=y"),
    ("žluťoučký kůň 日本", "žluťoučký kůň 日本", "*日本"),
];

#[tokio::test(flavor = "multi_thread")]
async fn complaint_16_no_character_of_a_name_is_lost_or_escaped_twice() {
    const UNIT: &str = "ou=Sales\\, EMEA \\\"R&D\\\" (*),ou=people,dc=example,dc=com";
    both(|which| async move {
        let base64 = |text: &str| STANDARD.encode(text);
        let dn = |name: &str| format!("cn={name},{UNIT}");
        let unit = "Sales, EMEA \"R&D\" (*)";
        let mut text = ldif(0, 0, 0);
        text += &format!("dn:: {}\nobjectClass: organizationalUnit\nou:: {}\n\n", base64(UNIT), base64(unit));
        let group = "Team \\\"A\\+B\\\"\\, \\#1 *()\\\\";
        let group_name = "Team \"A+B\", #1 *()\\";
        let mut members_of = String::new();
        for (n, (name, in_dn, _)) in NAMES.iter().enumerate() {
            let dn = base64(&dn(in_dn));
            text += &format!(
                "dn:: {dn}\nobjectClass: inetOrgPerson\ncn:: {}\nuid: n{n:02}\nsn: N\ngivenName: G\nmail: n{n}@example.com\n\n",
                base64(name)
            );
            members_of += &format!("member:: {dn}\n");
        }
        let group_dn = format!("cn={group},ou=groups,{BASE}");
        text += &format!(
            "dn:: {}\nobjectClass: groupOfNames\ncn:: {}\n{members_of}\n",
            base64(&group_dn),
            base64(group_name)
        );
        let directory = Directory::start(&text).await;
        let users = format!("[sources.hq.users]\nbase = '{UNIT}'\n");
        let hq = Hq::of(which, &section(&directory.url(), &format!("{UNGUARDED}{users}"))).await;
        done(&hq).await;
        let logins: Vec<String> = (0..NAMES.len()).map(|n| format!("n{n:02}")).collect();
        let known = people(&hq).await;
        for (login, (name, ..)) in logins.iter().zip(NAMES) {
            assert_eq!(known[login].doc["displayName"], name.trim());
        }
        assert_eq!(members(&hq, &group_name.to_lowercase()).await, logins);
        assert_eq!(hq.figures().await["open ends"], 0);
        assert_eq!(hq.poll(SYNC).await.run, None, "none of it looks like a change");
        // A new name with everything in it is the same person in the same group, once the group says so.
        let all = "a\\,b\\+c\\\"d\\\\e*(f)";
        directory.rename(&dn("starlight"), &format!("cn={all}"), None).await;
        let now: Vec<String> = NAMES.iter().map(|(_, in_dn, _)| dn(if *in_dn == "starlight" { all } else { in_dn })).collect();
        directory.replace(&group_dn, "member", &now.iter().map(String::as_str).collect::<Vec<_>>()).await;
        done(&hq).await;
        assert_eq!(people(&hq).await["n07"].id, known["n07"].id);
        assert_eq!(members(&hq, &group_name.to_lowercase()).await, logins);
        directory.rename(&dn(all), "cn=starlight", None).await;

        // A filter finds whom it means, and nobody else.
        for (n, (name, _, in_filter)) in NAMES.iter().enumerate() {
            let one = reader(&directory.url(), &format!("[users]\nfilter = '(cn={in_filter})'\n[groups]\nenabled = false"));
            let (records, end) = read_all(&one, &Nothing).await;
            let found = present(records);
            let found: Vec<&str> = found.values().filter_map(|one| one.attributes["userName"].as_str()).collect();
            assert_eq!(found, [format!("n{n:02}")], "{name}: {in_filter}, {end:?}");
        }
    })
    .await;
}

/// What musterd asks with names that it was given: the very bytes, as a value and not as a piece of a filter's text.
#[tokio::test(flavor = "multi_thread")]
async fn complaint_16_a_name_that_is_asked_for_is_asked_for_as_it_came() {
    const STRANGE: &str = "CN=Nováková\\, \\\"Eva\\\" (*)(objectClass=\\*)\\\\,OU=People,dc=example,dc=com";
    const ROOT: [(&str, &str); 3] = [
        ("supportedCapabilities", "1.2.840.113556.1.4.800"),
        ("dsServiceName", "CN=A"),
        ("highestCommittedUSN", "100"),
    ];
    both(|which| async move {
        let mut eva = account("guid-of-eva-0001", "eva", &[("uSNChanged", "100")]);
        let group = |dn: &str| {
            entry(
                &format!("CN=all,{BASE}"),
                &[("objectGUID", "guid-of-all-0001"), ("objectCategory", "group"), ("cn", "all"), ("member", dn)],
            )
        };
        let server = Scripted::of(&ROOT, vec![eva.clone(), group(&eva.dn)]).await;
        let more = format!("preset = 'activedirectory'\nmode = 'usn'\n{UNGUARDED}");
        let hq = Hq::of(which, &section(&server.url(), &more)).await;
        done(&hq).await;
        assert_eq!(members(&hq, "all").await, ["eva"]);
        STRANGE.clone_into(&mut eva.dn);
        eva = with(eva, "uSNChanged", b"101");
        server.asked();
        server.holds(vec![eva, group(STRANGE)]);
        done(&hq).await;
        let by_name = LdapFilter::Or(vec![LdapFilter::Equality("member".to_owned(), STRANGE.to_owned())]);
        let asked = server.asked();
        let asks = |filter: &LdapFilter| matches!(filter, LdapFilter::And(parts) if parts.contains(&by_name));
        assert!(asked.iter().any(|asked| asks(&asked.search.filter)), "{asked:?}");
        assert_eq!((members(&hq, "all").await, active(&hq).await), (vec!["eva".to_owned()], vec!["eva".to_owned()]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_21_bytes_stay_bytes_and_options_of_names_are_no_other_names() {
    both(|which| async move {
        // Identities: one is text by chance, one is none, one has every kind of byte.
        let guids: [[u8; 16]; 3] = [
            *b"sixteen letters.",
            [0xff, 0, 0x80, 0xc3, 0x28, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0],
            [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff],
        ];
        let all: Vec<_> = guids
            .iter()
            .enumerate()
            .map(|(n, guid)| {
                let mut one = account("guid-number-0000", &format!("p{n}"), &[("title;lang-cs", "Operátor")]);
                one.attributes.retain(|attribute| attribute.atype != "objectGUID");
                with(one, "objectGUID", guid)
            })
            .collect();
        let server = Scripted::start(&[], move |asked| find(asked, &all)).await;
        let more = format!("preset = 'activedirectory'\nmode = 'paged'\n{UNGUARDED}");
        let hq = Hq::of(which, &section(&server.url(), &more)).await;
        done(&hq).await;
        let mut read = hq.world.db.read().await.unwrap();
        let keys = read.all("SELECT key FROM assertion WHERE kind = 'user'", vec![]).await.unwrap();
        drop(read);
        let keys: HashSet<String> = keys.iter().map(|row| row.get(0).unwrap()).collect();
        assert_eq!(keys, guids.iter().map(|guid| uuid::Uuid::from_bytes_le(*guid).to_string()).collect());
        assert!(keys.contains("00112233-4455-6677-8899-aabbccddeeff"), "as Microsoft's tools write it");
        assert!(people(&hq).await.values().all(|person| person.doc["title"] == "Operátor"));
        assert_eq!(hq.poll(SYNC).await.run, None);

        // A photo and a certificate, which the server gives under `userCertificate;binary`.
        let directory = Directory::start(&ldif(3, 1, 1)).await;
        let photo = [&b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"[..], &[0x80, 0, 0xff, 0xc3, 0x28], b"\xff\xd9"].concat();
        let pem = std::fs::read_to_string(directory.folder().join("cert.pem")).unwrap();
        let certificate =
            STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
        let value = |name: &str, bytes: &[u8]| Mod::Replace(name.as_bytes().to_vec(), HashSet::from([bytes.to_vec()]));
        let change = vec![value("jpegPhoto", &photo), value("userCertificate;binary", &certificate)];
        directory.admin().await.modify(&person(1), change).await.unwrap().success().unwrap();
        let more =
            format!("{UNGUARDED}[sources.hq.users.map]\nphotos = 'jpegPhoto'\nx509Certificates = 'userCertificate'\n");
        let hq = Hq::of(which, &section(&directory.url(), &more)).await;
        done(&hq).await;
        let known = people(&hq).await;
        let said = |name: &str| known["p000001"].doc[name][0]["value"].as_str().unwrap().to_owned();
        assert!(STANDARD.decode(said("x509Certificates")).unwrap() == certificate);
        // Of a photo no more than the digest, of every byte.
        let digest: Vec<u8> =
            (0..64).step_by(2).map(|at| u8::from_str_radix(&said("photos")[at..at + 2], 16).unwrap()).collect();
        assert_eq!(digest, Sha256::digest(&photo).to_vec());
        assert_eq!(known["p000002"].doc.get("photos"), None);
        let again = hq.poll(SYNC).await;
        assert_eq!((again.state, again.run), (End::Done, None));
    })
    .await;
}
