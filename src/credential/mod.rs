//! Secrets of people and programs: argon2id on bounded permits (`hasher`), bearer tokens (`bearer`), generated passwords
//! (`generate`), secrets of links (`link`), second factors (`totp`), sealed texts (`seal`) and the brake
//! on guessing (`throttle`). Nothing here is
//! stored or sent, and no secret is ever shown by `Debug`. Start with `hasher`.

pub mod bearer;
pub mod generate;
pub mod hasher;
pub mod link;
pub mod seal;
pub mod throttle;
pub mod totp;

pub use hasher::{Hasher, Verdict};
