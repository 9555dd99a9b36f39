//! Any bytes as a body: what is taken is what other readers see in it, and is taken again as a resource.
#![no_main]

use libfuzzer_sys::fuzz_target;
use musterd::model::dialect::Dialect;
use musterd::scim::{json, resource};
use musterd_fuzz::shapes;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = json::parse(bytes) else { return };
    let other: Value = serde_json::from_slice(bytes).expect("stricter, but never otherwise");
    assert_eq!(value, other);
    let Value::Object(body) = value else { return };
    for shape in shapes() {
        if let Ok(read) = resource::read(shape, &body, Dialect::default()) {
            let again = resource::read(shape, &read.attributes, Dialect::default()).expect("what was taken is taken again");
            assert_eq!(again.attributes, read.attributes);
        }
    }
});
