-- Of filter, base, mapping and identity that a held run was read with: whoever approves it, approves these.
ALTER TABLE run ADD COLUMN fingerprint TEXT;
