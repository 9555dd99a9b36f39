-- The core of the store. One text for SQLite and PostgreSQL: see README.md in this folder.
-- Times are milliseconds since 1970 (BIGINT), documents are JSON text, ids are UUID text, digests are bytes.

-- The merged truth about one thing.
CREATE TABLE entity (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    realm TEXT NOT NULL,                    -- 'agent', 'client', '' for what is no person or group
    login_key TEXT,                         -- folded login (user) or name (group)
    active BOOLEAN NOT NULL,                -- effective
    blocked BOOLEAN NOT NULL,               -- the operator's own block
    state TEXT NOT NULL,                    -- live, incomplete, tombstone
    flags BIGINT NOT NULL,                  -- model::entity::Flags
    ordered_at BIGINT,                      -- a ticket's own time of creation
    version BIGINT NOT NULL,
    created BIGINT NOT NULL,
    modified BIGINT NOT NULL,
    gone_at BIGINT,                         -- since when no source holds it, or it is a tombstone
    doc TEXT NOT NULL
);
CREATE UNIQUE INDEX entity_login ON entity (kind, realm, login_key) WHERE state <> 'tombstone' AND login_key IS NOT NULL;
CREATE INDEX entity_list ON entity (kind, realm, id) WHERE state <> 'tombstone';
CREATE INDEX entity_gone ON entity (gone_at) WHERE gone_at IS NOT NULL;

-- What one source said of one thing. doc NULL: exactly entity.doc (it alone holds the thing).
CREATE TABLE assertion (
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    alias TEXT,
    external_id TEXT,
    digest BYTEA,
    doc TEXT,
    ended BOOLEAN NOT NULL,                 -- the source let go of it: for the source it does not exist any more
    run_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (source, kind, key)
);
CREATE INDEX assertion_entity ON assertion (entity_id);
CREATE INDEX assertion_alias ON assertion (source, alias) WHERE alias IS NOT NULL;
CREATE INDEX assertion_external ON assertion (source, kind, external_id) WHERE external_id IS NOT NULL;

-- Indexed values of documents, folded: email, number, employee_number, display.
CREATE TABLE lookup (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    PRIMARY KEY (kind, name, value, entity_id)
);
CREATE INDEX lookup_entity ON lookup (entity_id);

-- Relations, one row per source that asserts it. to_id NULL: its far end is not known yet.
CREATE TABLE edge (
    rel TEXT NOT NULL,
    from_id TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,                   -- model::desired::Ref::stored
    to_id TEXT,
    attributes TEXT,                        -- JSON, e.g. {"role":"Member"}
    PRIMARY KEY (rel, from_id, source, target)
);
CREATE INDEX edge_to ON edge (rel, to_id, from_id);
CREATE INDEX edge_to_any ON edge (to_id);
CREATE INDEX edge_from ON edge (rel, from_id, to_id);
CREATE INDEX edge_pending ON edge (target) WHERE to_id IS NULL;

-- "The newest tickets of this contact, of this company" as one ordered range each. scope_id is a contact or a company.
CREATE TABLE ticket_scope (
    scope_id TEXT NOT NULL,
    created BIGINT NOT NULL,
    ticket_id TEXT NOT NULL,
    PRIMARY KEY (scope_id, created, ticket_id)
);
CREATE INDEX ticket_scope_ticket ON ticket_scope (ticket_id);

-- One pass of the engine. SCIM and API calls share one run per source and day, polls have one each.
CREATE TABLE run (
    id TEXT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,                     -- poll, push, scim, operator, undo
    state TEXT NOT NULL,                    -- running, done, failed, held, approved, superseded
    started BIGINT NOT NULL,
    ended BIGINT,
    counts TEXT NOT NULL,                   -- JSON
    digest TEXT,                            -- of the planned changes
    message TEXT                            -- why it failed or is held
);
CREATE INDEX run_source ON run (source, started);

-- The planned changes of a run that waits for approval, in order.
CREATE TABLE run_item (
    run_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    record TEXT NOT NULL,                   -- JSON: model::desired::Record
    entity_id TEXT,
    version BIGINT,                         -- of the entity when it was planned
    PRIMARY KEY (run_id, seq)
);

-- Audit, event, preview and undo: one row per change. before/after can be erased, the digest stays.
CREATE TABLE journal (
    seq BIGINT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    source TEXT NOT NULL,
    op TEXT NOT NULL,
    kind TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    digest BYTEA NOT NULL,                  -- SHA-256 of data
    data TEXT                               -- JSON: {label, key, before, after}, NULL once erased
);
CREATE INDEX journal_entity ON journal (entity_id, seq);
CREATE INDEX journal_run ON journal (run_id, seq);

-- What a source's last run left behind. Updated in place: a run without changes writes nothing else.
CREATE TABLE source_state (
    source TEXT NOT NULL PRIMARY KEY,
    cursor TEXT,
    fingerprint TEXT,                       -- of filter, base, mapping, bind identity
    paused BOOLEAN NOT NULL,
    last_run TEXT,
    last_at BIGINT,
    last_good_at BIGINT,
    last_state TEXT,
    status TEXT NOT NULL                    -- JSON: counts, message
);

-- Records that could not be taken, with their reason: one row per record, replaced by each run.
CREATE TABLE quarantine (
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    run_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (source, kind, key)
);

-- Mails and signed events to be delivered, written in the transaction of the change that causes them.
CREATE TABLE outbox (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,                     -- invitation, credentials, webhook ...
    dedupe TEXT NOT NULL,
    state TEXT NOT NULL,                    -- queued, sending, sent, failed, indeterminate, skipped
    entity_id TEXT,
    payload TEXT NOT NULL,                  -- JSON without secrets
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    lease_until BIGINT,
    message_id TEXT NOT NULL,
    created BIGINT NOT NULL,
    ended BIGINT,
    error TEXT
);
CREATE UNIQUE INDEX outbox_dedupe ON outbox (dedupe);
CREATE INDEX outbox_due ON outbox (next_at) WHERE state IN ('queued', 'sending');

-- Passwords and second factors. Only argon2id hashes.
CREATE TABLE credential (
    entity_id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    must_change BOOLEAN NOT NULL,
    changed BIGINT NOT NULL,
    totp TEXT
);

-- Links that let somebody set a password or accept an invitation. Only the SHA-256 of the secret is kept.
CREATE TABLE link (
    id TEXT NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL,                  -- invitation, password
    hash BYTEA,                             -- NULL until a mail is being delivered
    entity_id TEXT,
    email TEXT,
    company_id TEXT,
    role TEXT,
    data TEXT NOT NULL,                     -- JSON: names, language, inviter
    state TEXT NOT NULL,                    -- pending, sent, accepted, expired, revoked, superseded
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    used BIGINT
);
CREATE UNIQUE INDEX link_hash ON link (hash) WHERE hash IS NOT NULL;
CREATE INDEX link_entity ON link (entity_id);
CREATE INDEX link_email ON link (email);

-- Bearer tokens. Only the SHA-256 of the secret is kept.
CREATE TABLE token (
    id TEXT NOT NULL PRIMARY KEY,
    hash BYTEA NOT NULL,
    label TEXT NOT NULL,
    source TEXT,                            -- the source it writes as, NULL for tokens that only read the API
    scopes TEXT NOT NULL,                   -- space separated
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    revoked BIGINT,
    last_used BIGINT
);

-- Seats that a company has ordered, per product.
CREATE TABLE pool (
    company_id TEXT NOT NULL,
    product TEXT NOT NULL,
    total BIGINT NOT NULL,
    used BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    PRIMARY KEY (company_id, product)
);

-- What licence somebody should have, and has.
CREATE TABLE licence (
    entity_id TEXT NOT NULL PRIMARY KEY,
    company_id TEXT,
    wanted TEXT,
    held TEXT,
    state TEXT NOT NULL,                    -- active, waiting, blocked, ...
    reasons TEXT NOT NULL,                  -- JSON
    since BIGINT NOT NULL,                  -- waiting is first come, first served
    free_at BIGINT                          -- the seat of a deactivated person is freed then
);
CREATE INDEX licence_waiting ON licence (company_id, since) WHERE state = 'waiting';
CREATE INDEX licence_free ON licence (free_at) WHERE free_at IS NOT NULL;

-- Who may poll: a lease with a fencing epoch, in database time.
CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
