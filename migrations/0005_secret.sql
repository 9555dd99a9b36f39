-- Keys that the service makes for itself and shares with its replicas, such as the one that seals the cursors of lists.
CREATE TABLE secret (
    name TEXT NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL,
    created BIGINT NOT NULL
);

-- Who has no login (or name) stands at the end of a list that is sorted by it.
CREATE INDEX entity_nameless ON entity (kind, realm, id) WHERE state <> 'tombstone' AND login_key IS NULL;
