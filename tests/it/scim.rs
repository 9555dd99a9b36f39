//! Stories of SCIM clients against the running daemon, over HTTP, on both databases.
//! The protocol's rules are tested in `src/scim`.
