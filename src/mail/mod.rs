//! Mails: `letter` renders one (pure, in the person's language, everything escaped), `transport` hands it to the mail
//! server and says exactly how that ended. What is to be sent stands in the outbox and is carried by `tasks::deliver`;
//! nothing here knows the store. A secret (link, password) is in the letter and nowhere else.

pub mod letter;
pub mod transport;

pub use letter::{Facts, Letter, Letters};
pub use transport::{Envelope, Outcome, Transport};
