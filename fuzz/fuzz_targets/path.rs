//! Any text as the path of a PATCH operation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use musterd::model::dialect::Mode;
use musterd::scim::path;
use musterd_fuzz::shapes;

fuzz_target!(|text: &str| {
    for shape in shapes() {
        let _ = path::parse(shape, text, Mode::Tolerant);
    }
});
