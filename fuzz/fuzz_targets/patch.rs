//! Any bytes as the body of a PATCH. What comes out must not empty what is required, nor hold holes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use musterd::model::dialect::{Dialect, Mode};
use musterd::model::document::without_nulls;
use musterd::scim::{json, patch, resource};
use musterd_fuzz::{ID, document, shapes};

fuzz_target!(|bytes: &[u8]| {
    let Ok(body) = json::object(bytes) else { return };
    let Ok(operations) = patch::operations(&body, Mode::Tolerant) else { return };
    for shape in shapes() {
        patch::needs_members(shape, &operations);
        if let Ok(patched) = patch::apply(shape, ID, &document(), &operations, &[], Dialect::default()) {
            assert!(resource::missing(shape, &patched.document).is_empty());
            assert_eq!(without_nulls(&patched.document), patched.document);
        }
    }
});
