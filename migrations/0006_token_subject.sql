-- Whom a token speaks for: the resource that /Me is for it.
ALTER TABLE token ADD COLUMN subject TEXT;
