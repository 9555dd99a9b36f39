//! Any text as the filter of a list, judged over one person.
#![no_main]

use libfuzzer_sys::fuzz_target;
use musterd::model::dialect::Mode;
use musterd::scim::{eval, filter};
use musterd_fuzz::{document, shapes};

fuzz_target!(|text: &str| {
    for shape in shapes() {
        if let Ok(tree) = filter::parse(shape, text, Mode::Tolerant) {
            eval::matches(&tree, &document());
        }
    }
});
