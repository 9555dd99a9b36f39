//! Stories of the process itself: start, readiness, tokens, limits, reload, drain, control socket, configuration faults.
//! The parts are tested beside their code.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::daemon::{Daemon, cli};
use crate::support::http::{Http, answer, try_answer};
use crate::support::{Which, both};

const IDP: &str = "[sources.idp]\nkind = 'scim'\nrealm = 'agent'\n";

/// Reads until the other side closes; `None` when it does not within the time.
fn until_closed(stream: &mut TcpStream, at_most: Duration) -> Option<String> {
    let start = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while start.elapsed() < at_most {
        match stream.read(&mut piece) {
            Ok(0) => return Some(String::from_utf8_lossy(&all).into_owned()),
            Ok(count) => all.extend_from_slice(&piece[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return Some(String::from_utf8_lossy(&all).into_owned()),
        }
    }
    None
}

#[test]
fn every_fault_of_a_configuration_is_told_at_once_with_exit_78() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("m.toml");
    std::fs::write(&file, "colour = 1\n[server]\nlisten = 'x'\n[mail]\npasword = 'hunter2'\n").expect("written");
    for command in [["serve"].as_slice(), &["check"], &["plan", "hq"], &["token", "list"]] {
        let done = cli(&file, &[], command);
        assert_eq!(done.code, 78, "{command:?}: {done:?}");
        for part in ["3 faults", "colour", "server.listen = x", "mail.pasword", "did you mean password"] {
            assert!(done.stderr.contains(part), "{part} in {done:?}");
        }
        assert!(!done.stderr.contains("hunter2"), "{done:?}");
    }
    assert_eq!(cli(&file, &[], &["no-such-command"]).code, 64);
    let done = cli(&file, &[("MUSTERD__SERVER__LISTEN", "127.0.0.1:1")], &["check", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(told["faults"].as_array().map(Vec::len), Some(2), "{told}");
}

#[tokio::test]
async fn a1_s12_s36_a_token_lives_and_ends_with_its_revocation() {
    both(async |which| {
        let daemon = Daemon::builder(which).config(IDP).start().await;
        let token = daemon.token(&["--source", "idp", "--scope", "scim"]);
        let http = daemon.http.with_token(&token);
        http.get("/scim/v2/Users").await.expect(200);

        // Nothing else counts: no token, an empty one, one that is mistyped, two headers, one in the address.
        let plain = daemon.http.get("/scim/v2/Users").await;
        assert_eq!((plain.status, plain.header("www-authenticate")), (401, Some(r#"Bearer realm="musterd""#)));
        assert_eq!(plain.json()["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error");
        let mistyped = format!("{}{}", &token[..token.len() - 1], if token.ends_with('x') { 'y' } else { 'x' });
        for bad in ["", " ", "Bearer", "Bearer ", "Bearer  ", "Basic eDp5", &format!("Bearer {mistyped}")] {
            let request = daemon.http.request(reqwest::Method::GET, "/scim/v2/Users").header("Authorization", bad);
            assert_eq!(answer(request).await.status, 401, "{bad:?}");
        }
        let twice = http.request(reqwest::Method::GET, "/scim/v2/Users").header("Authorization", "Bearer x");
        assert_eq!(answer(twice).await.status, 401);
        assert_eq!(daemon.http.get(&format!("/scim/v2/Users?access_token={token}")).await.status, 401);

        // A scope that it lacks, in the words of RFC 6750.
        let metrics = http.get("/metrics").await;
        assert_eq!(metrics.status, 403);
        assert!(metrics.header("www-authenticate").is_some_and(|text| text.contains("insufficient_scope")));

        let list: serde_json::Value =
            serde_json::from_str(&daemon.cli(&["token", "list", "--json"]).stdout).expect("JSON");
        let id = list[0]["id"].as_str().expect("an id");
        assert!(!list.to_string().contains(&token), "the secret is shown once");
        assert_eq!(daemon.cli(&["token", "revoke", id]).code, 0);
        assert_eq!(http.get("/scim/v2/Users").await.status, 401, "on the very next request");
        assert_eq!(daemon.cli(&["token", "revoke", id]).code, 1, "once is enough");
        assert_eq!(daemon.cli(&["token", "create", "--source", "nobody", "--scope", "scim"]).code, 64);
        assert!(!daemon.log().contains(&token[9..]), "no secret in the log");
    })
    .await;
}

/// Every path that is registered anywhere in `src/http`, as it would be called.
fn registered() -> Vec<String> {
    fn files(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() { files(&entry.path(), into) } else { into.push(entry.path()) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut sources = Vec::new();
    files(&root, &mut sources);
    let mut paths = Vec::new();
    for source in sources.iter().filter(|path| !path.ends_with("control.rs")) {
        let text = std::fs::read_to_string(source).expect("a source");
        let prefix = if source.starts_with(root.join("api")) { "/api/v1" } else { "" };
        for part in text.split(".route(").skip(1) {
            let Some(literal) = part.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                continue;
            };
            let ids = literal.split('/').map(|segment| if segment.starts_with('{') { "1" } else { segment });
            paths.push(format!("{prefix}{}", ids.collect::<Vec<_>>().join("/")));
        }
    }
    assert!(paths.len() > 5, "{paths:?}");
    paths
}

#[tokio::test]
async fn s13_every_route_is_closed_without_a_token() {
    let daemon = Daemon::builder(Which::Sqlite).start().await;
    let open = |path: &str| {
        ["/livez", "/readyz"].contains(&path) || path.starts_with("/invite/") || path.starts_with("/password/")
    };
    let scim = ["Users", "Groups", "Schemas", "ServiceProviderConfig", "Bulk", "Me", ".search", "nothing/here", ""];
    let mut paths: Vec<String> = scim.iter().map(|path| format!("/scim/v2/{path}")).collect();
    paths.extend(["/", "/api", "/api/v1", "/api/v2/users", "/console/", "/metrics/"].map(str::to_owned));
    paths.extend(registered());
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
            let method: reqwest::Method = method.parse().expect("a method");
            let told = answer(daemon.http.request(method.clone(), &path)).await;
            if open(&path) {
                assert_ne!(told.status, 401, "{method} {path}");
            } else {
                assert_eq!(told.status, 401, "{method} {path}: {}", told.text);
                assert!(told.header("www-authenticate").is_some(), "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a1_the_probes_and_the_figures() {
    both(async |which| {
        let daemon = Daemon::builder(which).start().await;
        assert_eq!(daemon.http.get("/livez").await.text, "ok\n");
        let ready = daemon.http.get("/readyz?verbose").await.expect(200);
        assert_eq!((&ready["ready"], &ready["checks"]["store_writable"]), (&json!(true), &json!(true)), "{ready}");
        let http = daemon.http.with_token(daemon.token(&["--scope", "metrics:read"]));
        let request = http.request(reqwest::Method::GET, "/livez").header("x-request-id", "mine-1");
        assert_eq!(answer(request).await.header("x-request-id"), Some("mine-1"));
        let figures = http.get("/metrics").await;
        for name in ["http_requests_total{route=\"/readyz\"", "task_runs_total{", "build_info{", "http_in_flight 1"] {
            assert!(figures.text.contains(name), "{name} in {}", figures.text);
        }
    })
    .await;
}

#[tokio::test]
async fn s31_who_dribbles_is_cut_off_and_holds_up_nobody() {
    let limits = "[server.limits]\nheader_timeout = '400ms'\nbody_idle_timeout = '400ms'\nbody = 2048\n\
                  connections_per_address = 24\n";
    let daemon = Daemon::builder(Which::Sqlite).config(&format!("{limits}{IDP}")).start().await;
    let connect = || TcpStream::connect(("127.0.0.1", daemon.port)).expect("a connection");
    let mut silent = connect();
    let mut started = connect();
    started.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A").expect("written");
    let mut preface = connect();
    preface.write_all(b"PRI * HT").expect("written");
    let start = Instant::now();
    assert_eq!(daemon.http.get("/livez").await.status, 200);
    assert!(start.elapsed() < Duration::from_millis(300), "others are served meanwhile");
    for (name, stream) in [("silent", &mut silent), ("started", &mut started), ("preface", &mut preface)] {
        assert!(until_closed(stream, Duration::from_secs(5)).is_some(), "{name} is still open");
    }

    // A body that stops arriving.
    let token = daemon.token(&["--source", "idp", "--scope", "scim"]);
    let mut stuck = connect();
    let head = format!(
        "POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/scim+json\r\nContent-Length: 1000\r\n\r\n{{"
    );
    stuck.write_all(head.as_bytes()).expect("written");
    assert!(until_closed(&mut stuck, Duration::from_secs(5)).is_some(), "the body's time-out");

    // A body that is too long: by its word, and without one.
    // A client of its own for each: the daemon has closed what was idle, and a pool may not have noticed yet.
    let http = || Http::new(daemon.http.base.clone()).with_token(&token);
    let long = json!({"userName": "x".repeat(4096)});
    assert_eq!(http().post("/scim/v2/Users", &long).await.status, 413);
    let pieces = futures_util::stream::iter((0..8).map(|_| Ok::<_, std::io::Error>("x".repeat(1024))));
    let request =
        http().request(reqwest::Method::POST, "/scim/v2/Users").header("content-type", "application/scim+json");
    assert_eq!(answer(request.body(reqwest::Body::wrap_stream(pieces))).await.status, 413);

    // Too many connections from one address: the ones beyond are closed at once.
    let many: Vec<TcpStream> = (0..40).map(|_| connect()).collect();
    let closed = many.into_iter().filter_map(|mut stream| until_closed(&mut stream, Duration::from_millis(60))).count();
    assert!(closed >= 10, "{closed} were closed");
}

#[tokio::test]
async fn a_request_that_runs_is_finished_before_the_end() {
    both(async |which| {
        let mut daemon = Daemon::builder(which).config(IDP).start().await;
        let token = daemon.token(&["--source", "idp", "--scope", "scim"]);
        let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "eva",
            "name": {"givenName": "Eva", "familyName": "Nová"}, "emails": [{"value": "eva@x.cz"}]})
        .to_string();
        let mut late = TcpStream::connect(("127.0.0.1", daemon.port)).expect("a connection");
        let head = format!(
            "POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/scim+json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        late.write_all(head.as_bytes()).expect("written");
        late.write_all(&body.as_bytes()[..10]).expect("written");
        tokio::time::sleep(Duration::from_millis(300)).await;
        daemon.process().signal("TERM");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(try_answer(daemon.http.request(reqwest::Method::GET, "/livez")).await.is_err(), "nobody new is let in");
        late.write_all(&body.as_bytes()[10..]).expect("written");
        let told = until_closed(&mut late, Duration::from_secs(10)).expect("an answer and the end");
        assert!(told.starts_with("HTTP/1.1 201"), "{told}");
        let status = daemon.process().wait(Duration::from_secs(20)).expect("it ends");
        assert!(status.success(), "{status}: {}", daemon.log());
    })
    .await;
}

#[tokio::test]
async fn a_reload_is_taken_whole_or_not_at_all() {
    let mut daemon = Daemon::builder(Which::Sqlite).config(IDP).start().await;
    let file = daemon.config_file();
    let before = std::fs::read_to_string(&file).expect("the configuration");
    let create = |daemon: &Daemon| daemon.cli(&["token", "create", "--source", "late", "--scope", "scim"]).code;
    assert_eq!(create(&daemon), 64, "not configured yet");
    let with = format!("{before}\n[sources.late]\nkind = 'scim'\nrealm = 'client'\n");

    // Faults of the form and of what shows only when a mapping is put to use, in one line of the log.
    let map = "[sources.feed]\nkind = 'push'\n[sources.feed.map.contact]\nnumbr = 'no'\n";
    std::fs::write(&file, format!("colour = 1\n{with}\n{map}")).expect("written");
    daemon.process().signal("HUP");
    until(&daemon, "reload was refused").await;
    let log = daemon.log();
    let refusal = log.lines().find(|line| line.contains("reload was refused")).expect("the line");
    for part in ["2 faults", "colour", "sources.feed.map.contact.numbr", "did you mean number?"] {
        assert!(refusal.contains(part), "{part} in {refusal}");
    }
    assert_eq!(create(&daemon), 78, "commands read the bad file");
    assert_eq!(daemon.http.get("/livez").await.status, 200, "the old one stays");

    std::fs::write(&file, with).expect("written");
    daemon.process().signal("HUP");
    until(&daemon, "was read again").await;
    assert_eq!(create(&daemon), 0, "{}", daemon.log());
    daemon.http.get("/readyz").await;
}

async fn until(daemon: &Daemon, words: &str) {
    let start = Instant::now();
    while !daemon.log().contains(words) {
        assert!(start.elapsed() < Duration::from_secs(10), "no `{words}` in {}", daemon.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn commands_go_to_the_daemon_and_two_writers_never_meet() {
    let mut daemon = Daemon::builder(Which::Sqlite).config(IDP).start().await;
    let socket = daemon.folder().join("control.sock");
    let mode = std::fs::metadata(&socket).expect("the control socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let locks = std::fs::read_dir(daemon.folder()).unwrap().map(|entry| entry.unwrap().path());
    let locks: Vec<_> = locks.filter(|path| path.extension().is_some_and(|end| end == "lock")).collect();
    assert_eq!(locks.len(), 1);
    assert_eq!(
        std::fs::metadata(&locks[0]).unwrap().permissions().mode() & 0o777,
        0o600,
        "whoever opens it can hold it"
    );

    let copy = daemon.folder().join("copy.db");
    let done = daemon.cli(&["backup", &copy.display().to_string()]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(std::fs::metadata(&copy).is_ok_and(|copy| copy.len() > 10_000));
    assert_eq!(daemon.cli(&["backup", &copy.display().to_string()]).code, 64, "nothing is overwritten");
    assert_eq!(daemon.cli(&["runs"]).code, 0);
    assert_eq!(daemon.cli(&["why", "user", "nobody"]).code, 1);
    assert_eq!(daemon.cli(&["plan", "idp"]).code, 64, "it is pushed, not polled");
    assert_eq!(daemon.cli(&["runs", "--source", "nosuch"]).code, 64);
    let useless = daemon.cli(&["token", "create", "--source", "idp", "--scope", "records:push"]);
    assert!(useless.code == 64 && useless.stderr.contains("for sources of kind push"), "{useless:?}");
    let api = daemon.http.with_token(daemon.token(&["--scope", "api"]));
    let told = api.get("/api/v1/visibility/check").await;
    assert_eq!((told.expect(405)["code"].clone(), told.header("allow")), ("method_not_allowed".into(), Some("POST")));

    // The daemon cannot be asked, but lives: the store stays locked.
    std::fs::remove_file(&socket).expect("removed");
    let done = daemon.cli(&["token", "list"]);
    assert!(done.code == 1 && done.stderr.contains("locked"), "{done:?}");
    let second = cli(&daemon.config_file(), &[("MUSTERD__SERVER__LISTEN", "127.0.0.1:0")], &["serve"]);
    assert!(second.code == 1 && second.stderr.contains("another musterd"), "{second:?}");

    daemon.process().stop();
    assert_eq!(daemon.cli(&["token", "list"]).code, 0, "without a daemon the command opens the store itself");
    assert_eq!(daemon.cli(&["migrate"]).code, 0);
}

#[tokio::test]
async fn the_control_socket_goes_with_the_daemon() {
    let mut daemon = Daemon::builder(Which::Sqlite).start().await;
    let socket = daemon.folder().join("control.sock");
    assert!(socket.exists());
    daemon.process().stop();
    assert!(!socket.exists());
}

#[test]
fn a8_the_unit_is_right_and_hardened() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/musterd.service");
    let text = std::fs::read_to_string(&unit).expect("the unit");
    for line in
        ["Type=notify", "WatchdogSec=30s", "RestartPreventExitStatus=64 78", "DynamicUser=yes", "ProtectSystem=strict"]
    {
        assert!(text.lines().any(|other| other == line), "{line}");
    }
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return; // a machine without systemd: the rest is its own judgement
    }
    // The program is not installed here: another stands in for it.
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("musterd.service");
    let swap =
        |line: &str| if line.starts_with("ExecStart=") { "ExecStart=/bin/true".to_owned() } else { line.to_owned() };
    std::fs::write(&copy, text.lines().map(swap).collect::<Vec<_>>().join("\n")).expect("written");
    let run =
        |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).arg(&copy).output().expect("it runs");
    let verified = run(&["verify"]);
    let told = String::from_utf8_lossy(&verified.stderr).into_owned();
    // Other units of the machine are mentioned too.
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("musterd")).collect();
    assert!(ours.is_empty(), "{ours:?}");
    let scored = run(&["security", "--offline=true", "--threshold=20"]);
    assert!(scored.status.success(), "{}", String::from_utf8_lossy(&scored.stdout));
}
