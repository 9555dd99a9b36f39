//! The JSON of a request, whatever it is wrapped in: the media type, `Content-Encoding: gzip`, and the limit, which counts
//! what comes out as well as what comes in: a small body must not become a large one.

use std::io::Read as _;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};

use crate::scim::error::Error;
use crate::scim::json;

/// Bytes of a body, as the provider's configuration publishes them.
pub const MOST: usize = 1 << 20;

/// The JSON object of the body. A request without `Content-Type` is taken for JSON.
pub async fn object(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Error> {
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !["application/scim+json", "application/json", "*/*"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
            return Err(Error::MediaType);
        }
    }
    let packed = packed(headers)?;
    let bytes = axum::body::to_bytes(body, MOST).await.map_err(|error| too_large_or_broken(&error))?;
    if packed { json::object(&unpacked(&bytes)?) } else { json::object(&bytes) }
}

fn packed(headers: &HeaderMap) -> Result<bool, Error> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    match (codings.next().map(|coding| coding.to_str().unwrap_or("?").trim().to_ascii_lowercase()), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding == "identity" || coding.is_empty() => Ok(false),
        (Some(coding), None) if coding == "gzip" || coding == "x-gzip" => Ok(true),
        _ => Err(Error::Coding),
    }
}

fn unpacked(bytes: &Bytes) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let read = MultiGzDecoder::new(&bytes[..]).take(MOST as u64 + 1).read_to_end(&mut out);
    if out.len() > MOST {
        return Err(Error::TooLarge(MOST));
    }
    match read {
        Ok(_) => Ok(out),
        Err(_) => Err(Error::InvalidSyntax("the body is not the gzip that Content-Encoding says".to_owned())),
    }
}

fn too_large_or_broken(error: &axum::Error) -> Error {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<http_body_util::LengthLimitError>() {
            return Error::TooLarge(MOST);
        }
        cause = inner.source();
    }
    Error::InvalidSyntax("the body could not be read to its end".to_owned())
}
