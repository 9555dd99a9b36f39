//! Readers of what lies outside: directories and CRMs. They pull pages, map them and hand records on; they never write
//! and never decide what an absence means. One folder per kind of source.

pub mod crm;
