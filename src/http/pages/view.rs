//! The HTML of the pages, and the headers that keep it harmless: no script, no frame, nothing remote, no trace of the
//! address in a `Referer`, no copy in a cache. Everything that is filled in is escaped here.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::words::{self, Words};
use crate::model::invitation::Dead;
use crate::model::language::Language;
use crate::model::password_policy::Rule;

pub const STYLE: &str = "*{box-sizing:border-box}body{margin:0;background:#f3f4f6;color:#1f2933;font:16px/1.5 system-ui,\
    sans-serif}main{max-width:26rem;margin:3rem auto;padding:2rem;background:#fff;border-radius:.5rem}h1{margin:0 0 1rem;\
    font-size:1.4rem}label{display:block;margin:1rem 0 .25rem}input{width:100%;padding:.6rem;border:1px solid #8795a1;\
    border-radius:.3rem;font:inherit}button{margin-top:1.5rem;width:100%;padding:.7rem;border:0;border-radius:.3rem;\
    background:#1a56db;color:#fff;font:inherit;font-weight:600}.error{padding:.75rem 1rem;background:#fdecea;\
    border-left:4px solid #b3261e}.error ul{margin:.25rem 0 0;padding-left:1.2rem}@media(max-width:32rem){main{margin:0;\
    border-radius:0}}";

const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What a form says besides its fields.
pub struct Form<'a> {
    pub language: Language,
    pub product: &'a str,
    pub company: Option<&'a str>,
    /// The account's login, or the invited address.
    pub login: &'a str,
    pub kind: FormKind,
    pub error: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FormKind {
    /// An invitation whose account gets its password here.
    Register,
    /// An invitation for somebody who has an account: its password is asked for.
    Join,
    /// A set-password link.
    SetPassword,
}

/// Why the form is shown again.
pub enum Fault {
    Broken(Vec<Rule>, usize),
    Differ,
    Wrong,
    CodeNeeded,
    /// Too many failures: the same later.
    TooEarly,
    Later,
    Refused,
}

impl Fault {
    fn status(&self) -> StatusCode {
        match self {
            Fault::Broken(..) | Fault::Differ => StatusCode::UNPROCESSABLE_ENTITY,
            Fault::Wrong | Fault::CodeNeeded => StatusCode::FORBIDDEN,
            Fault::TooEarly => StatusCode::TOO_MANY_REQUESTS,
            Fault::Later => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Refused => StatusCode::CONFLICT,
        }
    }
}

pub fn form(form: &Form<'_>) -> Response {
    let words = words::of(form.language);
    let (title, button) = match form.kind {
        FormKind::SetPassword => (words.set_title, words.set),
        FormKind::Register | FormKind::Join => (words.invitation, words.accept),
    };
    let mut body = String::new();
    if form.kind != FormKind::SetPassword {
        let text = if form.company.is_some() { words.invited_company } else { words.invited };
        // Names of companies may bring the full stop themselves.
        let company = form.company.unwrap_or_default();
        let text = if company.ends_with('.') { text.replace("{company}.", "{company}") } else { text.to_owned() };
        let text = text.replace("{company}", company).replace("{product}", form.product);
        body.push_str(&format!("<p>{}</p>", escaped(&text)));
    }
    if let Some(fault) = &form.error {
        body.push_str(&error(form.language, words, fault));
    }
    body.push_str(&format!("<p>{}</p><form method=\"post\">", escaped(about(form.kind, words))));
    let login = escaped(form.login);
    body.push_str(&format!(
        "<label for=\"login\">{}</label><input id=\"login\" value=\"{login}\" autocomplete=\"username\" readonly>",
        escaped(words.login)
    ));
    body.push_str(&fields(form.kind, words));
    body.push_str(&format!("<button type=\"submit\">{}</button></form>", escaped(button)));
    let status = form.error.as_ref().map_or(StatusCode::OK, Fault::status);
    page(status, form.language, title, form.product, &body)
}

fn about(kind: FormKind, words: &Words) -> &'static str {
    if kind == FormKind::Join { words.have_account } else { words.choose }
}

fn fields(kind: FormKind, words: &Words) -> String {
    let password = |name: &str, label: &str, hint: &str| {
        format!(
            "<label for=\"{name}\">{}</label><input id=\"{name}\" name=\"{name}\" type=\"password\" \
             autocomplete=\"{hint}\" maxlength=\"256\" required>",
            escaped(label)
        )
    };
    if kind == FormKind::Join {
        let code = format!(
            "<label for=\"code\">{}</label><input id=\"code\" name=\"code\" inputmode=\"numeric\" \
             autocomplete=\"one-time-code\" maxlength=\"8\">",
            escaped(words.code)
        );
        return password("password", words.password, "current-password") + &code;
    }
    password("password", words.password, "new-password") + &password("repeat", words.repeat, "new-password")
}

fn error(language: Language, words: &Words, fault: &Fault) -> String {
    let text = match fault {
        Fault::Broken(rules, min) => {
            let item = |rule: &Rule| {
                format!("<li>{}</li>", escaped(&words::rule(language, *rule).replace("{min}", &min.to_string())))
            };
            let items: String = rules.iter().map(item).collect();
            return format!("<div class=\"error\" role=\"alert\">{}<ul>{items}</ul></div>", escaped(words.broken));
        }
        Fault::Differ => words.differ,
        Fault::Wrong => words.wrong,
        Fault::CodeNeeded => words.code_needed,
        Fault::TooEarly | Fault::Later => words.later,
        Fault::Refused => words.refused,
    };
    format!("<div class=\"error\" role=\"alert\">{}</div>", escaped(text))
}

/// The end of a link that was used right now. `joined`: with a password that was there before.
pub fn done(language: Language, product: &str, login: &str, joined: bool) -> Response {
    let words = words::of(language);
    let text = if joined { words.joined } else { words.done };
    let text = text.replace("{login}", login);
    page(StatusCode::OK, language, words.done_title, product, &format!("<p>{}</p>", escaped(&text)))
}

/// A link that leads nowhere. Unknown ones are 404, those that once were good 410; revoked reads like unknown.
pub fn dead(language: Language, product: &str, why: Option<Dead>) -> Response {
    let words = words::of(language);
    let (status, text) = match why {
        None => (StatusCode::NOT_FOUND, words.dead),
        Some(Dead::Revoked) => (StatusCode::GONE, words.dead),
        Some(Dead::Expired) => (StatusCode::GONE, words.expired),
        Some(Dead::Used) => (StatusCode::GONE, words.used),
    };
    let body = format!("<p>{} {}</p>", escaped(text), escaped(words.ask_again));
    page(status, language, words.invitation, product, &body)
}

/// Something inside did not work; the log says what.
pub fn failed(language: Language, product: &str) -> Response {
    let words = words::of(language);
    let body = format!("<p>{}</p>", escaped(words.later));
    page(StatusCode::SERVICE_UNAVAILABLE, language, words.invitation, product, &body)
}

fn page(status: StatusCode, language: Language, title: &str, product: &str, body: &str) -> Response {
    let (title, product) = (escaped(title), escaped(product));
    let html = format!(
        "<!doctype html>\n<html lang=\"{language}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\"><title>{title} – {product}</title>\
         <link rel=\"stylesheet\" href=\"style.css\"></head><body><main><h1>{title}</h1>{body}</main></body></html>\n"
    );
    guarded((status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(), language)
}

pub fn style() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (kind, STYLE).into_response()
}

fn guarded(mut response: Response, language: Language) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-store");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::CONTENT_LANGUAGE, language.as_str());
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    response
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
