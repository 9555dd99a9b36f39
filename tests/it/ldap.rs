//! Stories with a real slapd: first run, changes, renames, a server that dies in mid-page, the guard.
//! The reader's rules are tested in `src/sources/ldap`.
