//! A connector ready to run: every template and mapping compiled, every fault told at once. Start at `Ready::compile`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::request::{Request, compile};
use super::session::Auth;
use crate::config::connector::{Paging, Stream as Spec};
use crate::config::crm::Crm;
use crate::mapping::{Mapping, Names, Template};
use crate::model::kind::Kind;

/// What of a connector cannot be compiled, with the place in its file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connector `{name}`: {}", faults.join("; "))]
pub struct Faulty {
    pub name: String,
    pub faults: Vec<String>,
}

#[derive(Debug)]
pub struct Ready {
    pub auth: Auth,
    pub streams: Vec<Stream>,
}

#[derive(Debug)]
pub struct Stream {
    pub spec: Spec,
    pub request: Request,
    pub detail: Option<Request>,
    pub success: Option<Template>,
    pub end: Option<Template>,
    pub mapping: Mapping,
    pub derive: Vec<Derive>,
}

/// Things named by free text.
#[derive(Debug)]
pub struct Derive {
    /// Where the text stands.
    pub value: String,
    pub mapping: Mapping,
}

impl Ready {
    pub fn compile(settings: &Crm) -> Result<Ready, Faulty> {
        let connector = &settings.connector;
        let mut faults = Vec::new();
        let auth = Auth::compile(&connector.auth, &connector.base, &mut faults);
        let streams = connector.streams.iter().filter_map(|spec| stream(spec, settings, &mut faults)).collect();
        if faults.is_empty() {
            Ok(Ready { auth, streams })
        } else {
            Err(Faulty { name: connector.name.clone(), faults })
        }
    }

    /// Of these kinds something may be absent after a read in which the streams at `whole` were read whole.
    pub fn kinds_read_whole(&self, whole: &[bool]) -> Vec<Kind> {
        let (mut kinds, mut partly) = (BTreeSet::new(), BTreeSet::new());
        for (stream, whole) in self.streams.iter().zip(whole) {
            // A feed of what is gone says nothing of what is there.
            if stream.spec.map.get("gone") == Some(&Value::Bool(true)) {
                continue;
            }
            let brought = stream.derive.iter().map(|derive| derive.mapping.kind).chain([stream.spec.kind]);
            if *whole && stream.spec.absence { kinds.extend(brought) } else { partly.extend(brought) }
        }
        kinds.difference(&partly).copied().collect()
    }
}

fn stream(spec: &Spec, settings: &Crm, faults: &mut Vec<String>) -> Option<Stream> {
    let at = |place: &str| format!("stream {}.{place}", spec.name);
    let base = &settings.connector.base;
    let request = Request::compile(&spec.request, base, &at("request"), faults);
    let detail = spec.detail.as_ref().map(|detail| Request::compile(&detail.request, base, &at("detail"), faults));
    let success = spec.success.as_ref().and_then(|text| compile(&at("success"), text, faults));
    let end = match &spec.page {
        Paging::Cursor { end: Some(end), .. } | Paging::Next { end: Some(end), .. } => {
            compile(&at("page.end"), end, faults)
        }
        _ => None,
    };
    let mut mapped = |kind: Kind, rules, place: &str| {
        Mapping::compile(kind, Names::Exact, rules, &settings.tables)
            .map_err(|all| faults.extend(all.iter().map(|fault| format!("{}: {fault}", at(place)))))
            .ok()
    };
    let mapping = mapped(spec.kind, &spec.map, "map");
    let derive = spec.derive.iter().filter_map(|derive| {
        let mapping = mapped(derive.kind, &derive.map, "derive.map")?;
        Some(Derive { value: derive.value.clone(), mapping })
    });
    let derive = derive.collect();
    let mapping = mapping?;
    if !spec.map.contains_key("key") {
        faults.push(format!("{}: `key` is missing: the path to the immutable id", at("map")));
    }
    Some(Stream { spec: spec.clone(), request, detail, success, end, mapping, derive })
}
