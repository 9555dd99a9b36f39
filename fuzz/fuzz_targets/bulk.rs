//! Any bytes as a bulk request: every operation is ordered once, and names resolve or are refused.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use musterd::scim::{bulk, json};
use musterd_fuzz::ID;

fuzz_target!(|bytes: &[u8]| {
    let Ok(body) = json::object(bytes) else { return };
    let Ok(mut request) = bulk::read(&body) else { return };
    let order = bulk::order(&mut request.operations);
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), request.operations.len());
    let mut ids = BTreeMap::new();
    for at in order {
        let Ok(operation) = &request.operations[at].operation else { continue };
        if let (Ok(_), Some(name)) = (operation.resolved(&ids), &operation.bulk_id) {
            ids.insert(name.clone(), ID.to_owned());
        }
    }
});
