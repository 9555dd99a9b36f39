//! A connector ready to run: every template and mapping compiled, every fault told at once. Start at `Ready::compile`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::request::{Request, compile};
use super::session::Auth;
use crate::config::connector::{Paging, Stream as Spec};
use crate::config::crm::Crm;
use crate::mapping::{Fault, Mapping, Names, Template};
use crate::model::kind::Kind;

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
    /// Each fault with its key in the connector's file.
    pub fn compile(settings: &Crm) -> Result<Ready, Vec<Fault>> {
        let connector = &settings.connector;
        let mut faults = Vec::new();
        let auth = Auth::compile(&connector.auth, &connector.base, &mut faults);
        let streams = connector.streams.iter().filter_map(|spec| stream(spec, settings, &mut faults)).collect();
        if faults.is_empty() { Ok(Ready { auth, streams }) } else { Err(faults) }
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

fn stream(spec: &Spec, settings: &Crm, faults: &mut Vec<Fault>) -> Option<Stream> {
    let at = |key: &str| format!("{}.{key}", spec.place);
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
        let told = |fault: Fault| Fault { target: format!("{place}.map.{}", fault.target), ..fault };
        Mapping::compile(kind, Names::Exact, rules, &settings.tables)
            .map_err(|all| faults.extend(all.into_iter().map(told)))
            .ok()
    };
    let mapping = mapped(spec.kind, &spec.map, &spec.place);
    let derive = spec.derive.iter().filter_map(|derive| {
        let mapping = mapped(derive.kind, &derive.map, &derive.place)?;
        Some(Derive { value: derive.value.clone(), mapping })
    });
    let derive = derive.collect();
    let mapping = mapping?;
    Some(Stream { spec: spec.clone(), request, detail, success, end, mapping, derive })
}
