//! Readers of what lies outside: directories and CRMs. They pull pages without a transaction, map them and hand records
//! on through a bounded channel; they never write, never see the store, and never decide what an absence means. One
//! folder per kind of source.

pub mod crm;
pub mod ldap;
