//! The pages behind the links of mails: `/invite/{token}` accepts an invitation, `/password/{token}` sets a password. A GET
//! or HEAD changes nothing, whoever follows the link first (R64); only the POST of the form uses it, once. The secret in
//! the address is the permission and the guard against forged forms. No script, nothing remote. `handlers` is the way
//! through, `accept` what a used link does, `view` the HTML, `words` the languages. Start with `handlers`.

mod accept;
mod handlers;
mod view;
mod words;

pub use handlers::routes;
