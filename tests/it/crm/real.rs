//! Request Tracker 5 itself, from the distribution's packages (request-tracker5, rt5-db-sqlite), on loopback with an SQLite
//! file of its own: proof that the connector reads the real thing and that the sample helpdesk behaves like it. Long suite.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use musterd::clock::Clock;
use musterd::model::desired::{End, Ref, Target, Targets};
use musterd::model::kind::{Kind, Rel};
use serde_json::{Value, json};

use super::desk::{Memory, RT5, run_at, settings};
use crate::support::process::{Server, free_port, remove_at_end};
use crate::support::{http, long};

const LIBRARY: &str = "/usr/share/request-tracker5/lib";
const SERVER: &str = "/usr/share/request-tracker5/libexec/rt-server";

fn installed() {
    if Path::new(SERVER).exists() && Path::new("/usr/share/doc/rt5-db-sqlite").exists() {
        return;
    }
    // The database is made by the test; the packages must not ask.
    let selections = "request-tracker5 request-tracker5/dbconfig-install boolean false\n";
    let script = format!(
        "printf '{selections}' | debconf-set-selections && apt-get update -q && \
         apt-get install -y -q --no-install-recommends request-tracker5 rt5-db-sqlite"
    );
    let done = Command::new("sh").args(["-c", &script]).env("DEBIAN_FRONTEND", "noninteractive").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

struct Tracker {
    url: String,
    token: String,
    http: reqwest::Client,
    _server: Server,
}

impl Tracker {
    async fn start() -> Tracker {
        installed();
        let folder = tempfile::tempdir().unwrap().keep();
        remove_at_end(&folder);
        let port = free_port();
        let at = folder.display();
        for name in ["none", "mason", "session"] {
            std::fs::create_dir(folder.join(name)).unwrap();
        }
        let config = format!(
            "Set($rtname, 'sample'); Set($Organization, 'sample.test'); Set($WebDomain, '127.0.0.1');\n\
             Set($WebPort, {port}); Set($DatabaseType, 'SQLite'); Set($DatabaseName, '{at}/rtdb');\n\
             Set($DatabaseHost, ''); Set($DatabaseUser, ''); Set($DatabasePassword, '');\n\
             Set($LogToSyslog, undef); Set($LogToSTDERR, 'error'); Set($Timezone, 'Europe/Prague');\n\
             Set($MasonDataDir, '{at}/mason'); Set($MasonSessionDir, '{at}/session');\n\
             Set($WebSessionClass, 'Apache::Session::File'); Set(%GnuPG, Enable => 0); Set(%SMIME, Enable => 0);\n\
             Set($MailCommand, 'testfile');\n1;\n"
        );
        std::fs::write(folder.join("RT_SiteConfig.pm"), config).unwrap();
        let with_config = |program: &str| {
            let mut command = Command::new(program);
            command
                .env("RT_SITE_CONFIG", folder.join("RT_SiteConfig.pm"))
                .env("RT_SITE_CONFIG_DIR", folder.join("none"));
            command.stdin(Stdio::null()).current_dir(&folder);
            command
        };
        let made = with_config("rt-setup-database-5").args(["--action", "init"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let script = "use RT; RT::LoadConfig(); RT::Init(); my ($ok, $message, $text) = \
                      RT::AuthToken->new(RT->SystemUser)->Create(Owner => 14, Description => 'musterd'); \
                      die $message unless $ok; print $text;";
        let token = with_config("perl").args([&format!("-I{LIBRARY}"), "-e", script]).output().unwrap();
        assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
        let mut command = with_config(SERVER);
        command.args(["--server", "HTTP::Server::PSGI", "--host", "127.0.0.1", "--port", &port.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server::start(&mut command, "TERM");
        http::provider();
        let tracker = Tracker {
            url: format!("http://127.0.0.1:{port}"),
            token: String::from_utf8(token.stdout).unwrap().trim().to_owned(),
            http: reqwest::Client::new(),
            _server: server,
        };
        tracker.wait().await;
        tracker
    }

    async fn wait(&self) {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let asked = self.http.get(format!("{}/REST/2.0/rt", self.url)).send().await;
            if asked.is_ok() {
                return;
            }
            assert!(Instant::now() < until, "request tracker does not answer");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}/REST/2.0/{path}", self.url)).json(&body);
        let answer = request.header("authorization", format!("token {}", self.token)).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap()
    }
}

#[tokio::test]
async fn a4_real_request_tracker_is_read_like_the_sample() {
    if !long() {
        return;
    }
    let tracker = Tracker::start().await;
    let post = reqwest::Method::POST;
    for number in 1..=104 {
        let organization = if number % 2 == 0 { "ACME s.r.o." } else { "acme S.R.O." };
        let user = json!({
            "Name": format!("cust{number}"), "EmailAddress": format!("cust{number}@acme.test"), "Privileged": 0,
            "RealName": format!("Zákazník {number}"), "Organization": organization,
        });
        tracker.send(post.clone(), "user", user).await;
    }
    for number in 1..=3 {
        let ticket = json!({
            "Queue": "General", "Subject": format!("Tiskárna {number}"), "Content": "x",
            "Requestor": [format!("cust{number}@acme.test"), "cust4@acme.test"],
        });
        tracker.send(post.clone(), "ticket", ticket).await;
    }
    let put = reqwest::Method::PUT;
    tracker.send(put.clone(), "user/cust3", json!({"Disabled": 1})).await;

    let own =
        format!("secret = '{}'\nzone = 'Europe/Prague'\n[tables.comment_queues]\nGeneral = true\n", tracker.token);
    let connector =
        RT5.replace("look_back = \"15h\"", "look_back = \"1s\"").replace("requests = 50", "requests = 5000");
    let settings = settings(&tracker.url, &connector, &own);
    let clock = Clock::system();
    let mut memory = Memory::default();
    let first = run_at(&settings, &memory, None, &clock).await;
    memory.learn(&first);
    let Some(End::Complete { kinds, .. }) = &first.end else { panic!("{:?}", first.end) };
    assert_eq!(kinds, &[Kind::Company, Kind::Contact, Kind::Ticket]);
    assert_eq!(first.bad(), []);
    let contacts = first.of(Kind::Contact);
    let by_mail = |mail: &str| {
        let found = contacts.values().find(|desired| desired.attributes["emails"][0]["value"] == mail);
        *found.unwrap_or_else(|| panic!("{mail}"))
    };
    assert_eq!(contacts.len(), 105, "104 customers and root");
    assert_eq!(by_mail("cust3@acme.test").attributes["active"], json!(false));
    assert_eq!(by_mail("cust4@acme.test").attributes["active"], json!(true));
    assert_eq!(first.of(Kind::Company).keys().copied().collect::<Vec<_>>(), ["acme s.r.o."]);
    let key = |mail: &str| Target::from(Ref::Key(Kind::Contact, by_mail(mail).key.clone()));
    let tickets = first.of(Kind::Ticket);
    assert_eq!(tickets.len(), 3);
    let one = tickets["1"];
    assert_eq!(one.attributes["title"], json!("Tiskárna 1"));
    assert_eq!(one.attributes["category"], json!("General"));
    assert_eq!(one.attributes["externalComments"], json!(true));
    let Targets::Whole(ends) = &one.relations[&Rel::Concerns] else { panic!("{:?}", one.relations) };
    assert!(ends.contains(&key("cust1@acme.test")) && ends.contains(&key("cust4@acme.test")) && ends.len() == 2);

    // Only what changed afterwards comes: RT understood the time.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    tracker.send(put.clone(), "ticket/2", json!({"Subject": "Monitor"})).await;
    tracker.send(put.clone(), "user/cust3", json!({"Disabled": 0})).await;
    tracker.send(put, "user/cust5", json!({"Organization": "Nová a.s."})).await;
    let second = run_at(&settings, &memory, first.cursor(), &clock).await;
    memory.learn(&second);
    assert_eq!(second.of(Kind::Ticket).keys().copied().collect::<Vec<_>>(), ["2"]);
    assert_eq!(second.of(Kind::Contact).len(), 2, "{:?}", second.of(Kind::Contact).keys());
    assert_eq!(second.of(Kind::Company).keys().copied().collect::<Vec<_>>(), ["nová a.s."]);
    let third = run_at(&settings, &memory, second.cursor(), &clock).await;
    assert_eq!((third.present().count(), third.same(Kind::Ticket)), (0, 1));
}
