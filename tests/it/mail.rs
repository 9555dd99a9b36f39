//! Stories of invitations and credentials: outbox, real SMTP, the page behind the link, the check.
//! Rendering is tested in `src/mail`.
