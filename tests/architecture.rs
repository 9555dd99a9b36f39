//! The rules of the house, held by tests over the source itself: who may name whom (the table in ARCHITECTURE.md is the
//! rule, read by `rooms`), headers and sizes (`house`), licences and banned crates (`crates`), and the list of
//! requirements with the tests that prove them (`requirements`). `source` is the small lexer below them all.
//! Nothing here runs any of musterd's code.

#[path = "architecture/crates.rs"]
mod crates;
#[path = "architecture/house.rs"]
mod house;
#[path = "architecture/requirements.rs"]
mod requirements;
#[path = "architecture/rooms.rs"]
mod rooms;
#[path = "architecture/source.rs"]
mod source;

/// Fails with every fault at once, one a line.
#[track_caller]
fn none(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}
