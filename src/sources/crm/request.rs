//! A connector's request, compiled, and what it becomes for one page or record. A value can never change the address: it
//! stays inside its path segment or parameter. Errors name the place, not the values. Start at `Request::build`.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value};

use super::client::{Outgoing, Trouble};
use crate::config::connector;
use crate::mapping::{Fault, Template};

pub(super) const NO_HEADER: &str = "is no name of a header";

/// What templates may name.
pub type Context = Map<String, Value>;

#[derive(Debug)]
pub struct Request {
    method: Method,
    /// One template per path segment.
    path: Vec<Template>,
    query: Vec<(String, Template)>,
    headers: Vec<(HeaderName, Template)>,
    body: Body,
    /// For messages: the path as it stands in the connector.
    shown: String,
}

#[derive(Debug)]
enum Body {
    None,
    Json(Template),
    Form(Vec<(String, Template)>),
}

impl Request {
    /// `at` says in faults where the request stands.
    pub fn compile(spec: &connector::Request, base: &str, at: &str, faults: &mut Vec<Fault>) -> Request {
        let whole = format!("{base}/{}", spec.path.trim_start_matches('/'));
        let mut parse = |place: &str, text: &str| compile(&format!("{at}.{place}"), text, faults);
        let segments = whole.split('/').filter(|segment| !segment.is_empty());
        let path = segments.filter_map(|segment| parse("path", segment)).collect();
        let mut pairs = |place: &str, all: &std::collections::BTreeMap<String, String>| {
            let each = |(name, text): (&String, &String)| {
                parse(&format!("{place}.{name}"), text).map(|template| (name.clone(), template))
            };
            all.iter().filter_map(each).collect::<Vec<_>>()
        };
        let query = pairs("query", &spec.query);
        let headers = pairs("headers", &spec.headers);
        let body = match &spec.body {
            connector::Body::None => Body::None,
            connector::Body::Form(form) => Body::Form(pairs("form", form)),
            connector::Body::Json(text) => parse("json", text).map_or(Body::None, Body::Json),
        };
        let named = |(name, template): (String, Template)| match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => Some((name, template)),
            Err(_) => {
                faults.push(Fault { target: format!("{at}.headers.{name}"), reason: NO_HEADER.to_owned() });
                None
            }
        };
        let headers = headers.into_iter().filter_map(named).collect();
        let method = match spec.method {
            connector::Method::Get => Method::GET,
            connector::Method::Post => Method::POST,
        };
        Request { method, path, query, headers, body, shown: spec.path.clone() }
    }

    pub fn build(&self, home: &Url, context: &Context) -> Result<Outgoing, Trouble> {
        let wrong = |place: &str, reason: String| Trouble::Settings(format!("{} {place}: {reason}", self.shown));
        let mut url = home.clone();
        {
            let mut segments = url.path_segments_mut().map_err(|()| wrong("address", "has no path".to_owned()))?;
            segments.pop_if_empty();
            for template in &self.path {
                let segment = template.render(context).map_err(|reason| wrong("path", reason))?;
                if matches!(segment.as_str(), "" | "." | "..") {
                    return Err(wrong("path", format!("`{segment}` cannot stand between slashes")));
                }
                segments.push(&segment);
            }
        }
        for (name, template) in &self.query {
            let value = template.render(context).map_err(|reason| wrong(name, reason))?;
            if !value.is_empty() {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        let mut headers = HeaderMap::new();
        for (name, template) in &self.headers {
            let value = template.render(context).map_err(|reason| wrong(name.as_str(), reason))?;
            headers.insert(name.clone(), header_value(&value).map_err(|reason| wrong(name.as_str(), reason))?);
        }
        let body = self.body(context, &mut headers).map_err(|reason| wrong("body", reason))?;
        Ok(Outgoing { method: self.method.clone(), url, headers, body })
    }

    fn body(&self, context: &Context, headers: &mut HeaderMap) -> Result<Option<Vec<u8>>, String> {
        match &self.body {
            Body::None => Ok(None),
            Body::Json(template) => {
                let text = template.render(context)?;
                serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|error| format!("no JSON: {error}"))?;
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                Ok(Some(text.into_bytes()))
            }
            Body::Form(fields) => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                for (name, template) in fields {
                    form.append_pair(name, &template.render(context)?);
                }
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/x-www-form-urlencoded"));
                Ok(Some(form.finish().into_bytes()))
            }
        }
    }
}

/// `None` after a fault.
pub fn compile(at: &str, text: &str, faults: &mut Vec<Fault>) -> Option<Template> {
    let told = |reason| faults.push(Fault { target: at.to_owned(), reason: format!("`{text}`: {reason}") });
    Template::parse(text).map_err(told).ok()
}

/// Control characters are refused here: a value can never start a header of its own.
pub fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| "holds a character that no header may hold".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn request(path: &str, query: &[(&str, &str)]) -> Request {
        let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let spec = connector::Request {
            method: connector::Method::Get,
            path: path.to_owned(),
            query: text(query),
            headers: text(&[("X-Instance", "{{ id }}")]),
            body: connector::Body::None,
        };
        let mut faults = Vec::new();
        let request = Request::compile(&spec, "/REST/2.0", "stream", &mut faults);
        assert_eq!(faults, []);
        request
    }

    fn built(request: &Request, id: &str) -> Result<Outgoing, Trouble> {
        let Value::Object(context) = json!({"id": id, "since": ""}) else { unreachable!() };
        request.build(&"https://rt.example/rt/".parse().unwrap(), &context)
    }

    #[test]
    fn values_stay_where_they_belong() {
        let request = request("/user/{{ id }}", &[("q", "{{ id }}"), ("since", "{{ since }}")]);
        let sent = built(&request, "a/../b?x&y=1").unwrap();
        assert_eq!(
            sent.url.as_str(),
            "https://rt.example/rt/REST/2.0/user/a%2F..%2Fb%3Fx&y=1?q=a%2F..%2Fb%3Fx%26y%3D1"
        );
        assert!(built(&request, "..").is_err());
        assert!(built(&request, "a\r\nX: y").unwrap_err().to_string().contains("x-instance"));
    }
}
