//! Placeholder while the room is being furnished.

pub mod scope;
