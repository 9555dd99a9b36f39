//! Stories of licences and seats, asked over SCIM and the API, on both databases.
//! The rule itself is `src/model/licence.rs`.
