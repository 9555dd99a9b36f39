//! Stories of CRM polls and pushed records: the connector against an HTTP server, NDJSON into the API.
//! The connector's rules are tested in `src/sources/crm`.
