//! Pure types that cannot be wrong, and the rules on them. Nothing here waits, does I/O, asks the clock or draws
//! randomness. Start with `desired` (what a source says), then `document` (how sayings are merged) and `entity`.

pub mod catalogue;
pub mod change;
pub mod desired;
pub mod dialect;
pub mod document;
pub mod entity;
pub mod event;
pub mod fold;
pub mod hidden;
pub mod id;
pub mod invitation;
pub mod kind;
pub mod language;
pub mod licence;
pub mod login;
pub mod mail;
pub mod near;
pub mod order;
pub mod password_policy;
pub mod plain;
pub mod profile;
pub mod run;
pub mod source;
pub mod time;
pub mod unique;
pub mod visibility;
pub mod vocabulary;
