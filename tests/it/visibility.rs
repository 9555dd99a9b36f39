//! Stories of who sees which ticket, asked over the API, on both databases.
//! The rule itself is `src/model/visibility.rs`.
