//! Servers that misbehave: busy, broken, endless, lying or leading elsewhere. Whatever it is, a read that was not complete
//! says so, and no message shows a secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use musterd::model::desired::{End, Nothing, Record};
use musterd::model::kind::Kind;
use serde_json::{Value, json};

use super::desk::{TOKEN, Told, rt5, run, sample, serve, settings};

/// The first request of `path` gets this answer.
fn once(path: &'static str, answer: fn() -> Response) -> impl Fn(usize, &Uri) -> Option<Response> + Send + Sync {
    let done = AtomicUsize::new(0);
    move |_, uri| (uri.to_string().contains(path) && done.fetch_add(1, Ordering::Relaxed) == 0).then(answer)
}

fn busy(after: &str) -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", after.to_owned())]).into_response()
}

fn complete(told: &Told) -> bool {
    matches!(told.end, Some(End::Complete { .. }))
}

#[tokio::test]
async fn a4_a_busy_server_is_given_the_time_it_asks_for() {
    let served = serve(sample(3, 2).router(), once("/tickets", || busy("1"))).await;
    let started = Instant::now();
    let told = run(&rt5(&served.url), &Nothing, None).await;
    assert!(complete(&told), "{:?}", told.end);
    assert!(started.elapsed().as_millis() >= 1000, "{:?}", started.elapsed());

    // As a date: two seconds after the (standing) clock of the story.
    let served = serve(sample(3, 2).router(), once("/tickets", || busy("Sat, 21 Nov 2026 20:05:17 GMT"))).await;
    let started = Instant::now();
    assert!(complete(&run(&rt5(&served.url), &Nothing, None).await));
    assert!(started.elapsed().as_millis() >= 2000, "{:?}", started.elapsed());

    let served = serve(sample(3, 2).router(), once("/tickets", || busy("3600"))).await;
    let told = run(&rt5(&served.url), &Nothing, None).await;
    assert!(told.reason().contains("3600 s"), "{}", told.reason());
}

#[tokio::test]
async fn a4_b2_an_error_in_the_middle_makes_the_read_incomplete() {
    let broken = || StatusCode::INTERNAL_SERVER_ERROR.into_response();
    // Once is mended by trying again.
    let served = serve(sample(250, 2).router(), once("page=2", broken)).await;
    assert!(complete(&run(&rt5(&served.url), &Nothing, None).await));
    // For good is not.
    let served = serve(sample(250, 2).router(), move |_, uri| uri.to_string().contains("page=2").then(broken)).await;
    let told = run(&rt5(&served.url), &Nothing, None).await;
    assert_eq!(told.reason(), "GET /REST/2.0/users: the server answers 500");
    assert_eq!(served.count("&page=2"), 3, "as often as the connector says");
    assert!(told.of(Kind::Contact).len() <= 100);
}

#[tokio::test]
async fn a4_a_refused_token_is_told_without_showing_it() {
    let served = serve(sample(3, 2).router(), |_, _| None).await;
    let mut settings = rt5(&served.url);
    settings.secret = Some("wr0ng".into());
    let told = run(&settings, &Nothing, None).await;
    assert_eq!(told.reason(), "GET /REST/2.0/users: the server answers 401");
    assert_eq!(served.count("/users"), 1, "a refusal is not tried again");
    settings.secret = None;
    let told = run(&settings, &Nothing, None).await;
    assert!(told.reason().contains("secret"), "{}", told.reason());
    settings.secret = Some("a\nb".into());
    assert!(!run(&settings, &Nothing, None).await.reason().contains("a\nb"));
}

#[tokio::test]
async fn a4_answers_that_are_no_lists_are_never_empty_lists() {
    for (answer, part) in [
        ((|| "<html>log in</html>".into_response()) as fn() -> Response, "no JSON"),
        (|| Json(json!({"message": "maintenance"})).into_response(), "no list at `items`"),
        (|| Json(json!({"items": null, "total": 0})).into_response(), "no list at `items`"),
        (|| Json(json!({"items": [], "total": 3})).into_response(), "counts 3 records and lists 0"),
        (|| Redirect::temporary("http://127.0.0.1:1/").into_response(), "answers 307"),
        (|| StatusCode::NO_CONTENT.into_response(), "no JSON"),
    ] {
        let served = serve(sample(3, 2).router(), move |_, uri| uri.path().ends_with("/tickets").then(answer)).await;
        let told = run(&rt5(&served.url), &Nothing, None).await;
        assert!(told.reason().contains(part), "{part}: {}", told.reason());
    }
}

#[tokio::test]
async fn a4_an_unreachable_server_and_an_endless_answer_are_incomplete() {
    let told = run(&rt5("http://127.0.0.1:1"), &Nothing, None).await;
    assert!(told.reason().starts_with("GET /REST/2.0/users: "), "{}", told.reason());
    let router = Router::new().route("/api", get(|| async { "x".repeat(1_200_000) }));
    let served = serve(router, |_, _| None).await;
    let told = run(&contacts(&served.url, "", "[limits]\nbody_mib = 1"), &Nothing, None).await;
    assert!(told.reason().contains("longer than 1 MiB"), "{}", told.reason());
}

#[tokio::test]
async fn a4_a_record_that_cannot_be_read_stops_nothing_and_counts_as_present() {
    let desk = sample(5, 2);
    let served =
        serve(desk.router(), |_, uri| uri.path().ends_with("/user/103").then(|| StatusCode::NOT_FOUND.into_response()))
            .await;
    let told = run(&rt5(&served.url), &Nothing, None).await;
    assert!(complete(&told));
    assert_eq!(told.bad(), [(Some("103"), "GET /REST/2.0/user/103: the server answers 404")]);
    assert_eq!(told.of(Kind::Contact).len(), 4);
    assert!(told.records.iter().any(|record| {
        matches!(record, Record::Bad { kind: Some(Kind::Contact), key: Some(key), .. } if key == "103")
    }));

    let rows = json!([{"id": 1, "active": "perhaps"}, {"name": "nameless"}, {"id": 3, "active": "yes"}]);
    let router = Router::new().route("/api", get(move || async move { Json(rows) }));
    let served = serve(router, |_, _| None).await;
    let told = run(&contacts(&served.url, "active = 'active'", ""), &Nothing, None).await;
    assert!(complete(&told));
    let bad = told.bad();
    assert_eq!((bad.len(), bad[0].0, bad[1].0), (2, Some("1"), None), "{bad:?}");
    assert!(bad[0].1.contains("perhaps"));
    assert_eq!(told.of(Kind::Contact).len(), 1);
}

#[tokio::test]
async fn a4_pages_are_turned_in_every_way_vendors_know() {
    // Five records, two a page, by six ways.
    let answer = |Query(query): Query<std::collections::HashMap<String, String>>| async move {
        let at = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
        let start = at("offset").or(at("after")).or(at("last")).or(at("page").map(|page| (page - 1) * 2)).unwrap_or(0);
        let rows: Vec<Value> = (start + 1..=5).take(2).map(|id| json!({"id": id})).collect();
        let next = start + rows.len();
        let mut headers = HeaderMap::new();
        let mut body = json!({"data": rows, "total": 5});
        if next < 5 {
            headers.insert("link", format!("</api?offset={next}>; rel=next").parse().unwrap());
            body["after"] = json!(next);
            body["next"] = json!(format!("/api?offset={next}"));
        }
        (headers, Json(body))
    };
    let served = serve(Router::new().route("/api", get(answer)), |_, _| None).await;
    for (page, query) in [
        ("kind = 'number'", "page = '{{ page }}'"),
        ("kind = 'offset'", "offset = '{{ offset }}'"),
        ("kind = 'keyset'", "last = '{{ last }}'"),
        ("kind = 'cursor'\npath = 'after'", "after = '{{ after }}'"),
        ("kind = 'next'\npath = 'next'", "page = ''"),
        ("kind = 'link'", "page = ''"),
    ] {
        let text = format!(
            "records = 'data'\n[stream.page]\nsize = 2\n{page}\n[stream.request.query]\n{query}\n[stream.map]\n"
        );
        let told = run(&contacts(&served.url, "", &text), &Nothing, None).await;
        assert!(complete(&told), "{page}: {:?}", told.end);
        assert_eq!(told.of(Kind::Contact).len(), 5, "{page}");
    }
    // A server that always gives the first page.
    let stuck = "records = 'data'\n[stream.page]\nsize = 2\nkind = 'number'\n[stream.map]\n";
    let told = run(&contacts(&served.url, "", stuck), &Nothing, None).await;
    assert!(told.reason().contains("brings nothing"), "{}", told.reason());
}

#[tokio::test]
async fn a4_the_next_page_is_never_fetched_from_elsewhere() {
    let elsewhere = serve(sample(0, 0).router(), |_, _| None).await;
    let evil = elsewhere.url.clone();
    let next = format!("{evil}/steal");
    let answer = move || {
        let body = json!({"data": [{"id": 1}], "next": next});
        async move { Json(body) }
    };
    let served = serve(Router::new().route("/api", get(answer)), |_, _| None).await;
    let text = "records = 'data'\n[stream.page]\nkind = 'next'\npath = 'next'\n[stream.map]\n";
    let told = run(&contacts(&served.url, "", text), &Nothing, None).await;
    assert!(told.reason().contains("another server"), "{}", told.reason());
    assert_eq!(elsewhere.requests.lock().unwrap().len(), 0, "the secret would have gone there");
}

#[tokio::test]
async fn a4_an_error_inside_a_good_answer_is_an_error() {
    let answer = || async { Json(json!({"error": ["no right"], "data": []})) };
    let served = serve(Router::new().route("/api", get(answer)), |_, _| None).await;
    let text = "records = 'data'\nsuccess = '{{ not body.error }}'\n[stream.map]\n";
    let told = run(&contacts(&served.url, "", text), &Nothing, None).await;
    assert!(told.reason().contains("error inside a good answer"), "{}", told.reason());
    let min = "records = 'data'\nmin = 1\n[stream.map]\n";
    let told = run(&contacts(&served.url, "", min), &Nothing, None).await;
    assert!(told.reason().contains("fewer than the expected 1"), "{}", told.reason());
}

#[tokio::test]
async fn a4_a_session_is_opened_kept_and_opened_again() {
    let logins = Arc::new(AtomicUsize::new(0));
    let counted = logins.clone();
    let login = move |body: String| {
        let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
        assert_eq!(body, format!("{{\"user\": \"eva\", \"password\": \"{TOKEN}\"}}"));
        async move { Json(json!({"result": {"accessToken": format!("t{number}")}})) }
    };
    let uses = Arc::new(AtomicUsize::new(0));
    // The first token dies after its second use.
    let list = move |headers: HeaderMap, Query(query): Query<std::collections::HashMap<String, String>>| {
        let token = headers["x-auth-token"].to_str().unwrap().to_owned();
        let dead = token == "t1" && uses.fetch_add(1, Ordering::Relaxed) >= 2;
        async move {
            let page: u64 = query["page"].parse().unwrap();
            let rows = if page <= 4 { vec![json!({"id": page})] } else { vec![] };
            if dead { StatusCode::UNAUTHORIZED.into_response() } else { Json(json!({"data": rows})).into_response() }
        }
    };
    let router = Router::new().route("/login", post(login)).route("/api", get(list));
    let served = serve(router, |_, _| None).await;
    let connector = "name = 'own'\ntitle = 'Own'\n\
         [auth]\nkind = 'session'\ntoken = 'result.accessToken'\nheader = 'X-AUTH-TOKEN'\n\
         [auth.request]\npath = '/login'\n\
         json = '{\"user\": {{ username | tojson }}, \"password\": {{ secret | tojson }}}'\n\
         [[stream]]\nname = 's'\nkind = 'contact'\nrecords = 'data'\n\
         [stream.request]\npath = '/api'\nquery.page = '{{ page }}'\n[stream.page]\nkind = 'number'\n\
         [stream.map]\nkey = 'id'\n";
    let told = run(&settings(&served.url, connector, "username = 'eva'"), &Nothing, None).await;
    assert!(complete(&told), "{:?}", told.end);
    assert_eq!(told.of(Kind::Contact).len(), 4);
    assert_eq!(logins.load(Ordering::Relaxed), 2);
}

/// A plain list of contacts at `/api`: `map` is added to the mapping, `more` stands before it.
fn contacts(url: &str, map: &str, more: &str) -> musterd::config::crm::Crm {
    let mapped = more.contains("[stream.map]");
    let stream = "[[stream]]\nname = 's'\nkind = 'contact'\nrequest.path = '/api'\n";
    let connector = if mapped {
        format!("name = 'own'\ntitle = 'Own'\n{stream}{more}key = 'id'\n{map}\n")
    } else {
        format!("name = 'own'\ntitle = 'Own'\n{stream}[stream.map]\nkey = 'id'\n{map}\n{more}\n")
    };
    settings(url, &connector, "")
}
