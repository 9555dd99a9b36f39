-- What somebody outside must be told of: written in the transaction of the change, folded into `event` by a task. A row of
-- its own each time, so that writers of one subject never wait for each other.
CREATE TABLE event_cause (
    id TEXT NOT NULL PRIMARY KEY,
    topic TEXT NOT NULL,                    -- pbx.reload_required
    subject TEXT NOT NULL,                  -- folded
    label TEXT NOT NULL,                    -- the subject as it was written
    changes BIGINT NOT NULL,
    at BIGINT NOT NULL
);

-- One open event per topic and subject, until somebody acknowledges it.
CREATE TABLE event (
    id TEXT NOT NULL PRIMARY KEY,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    label TEXT NOT NULL,
    changes BIGINT NOT NULL,                -- that it stands for; only grows
    raised BIGINT NOT NULL,                 -- the first of them
    changed BIGINT NOT NULL,                -- the last of them
    acknowledged BIGINT,
    acknowledged_by TEXT
);
CREATE UNIQUE INDEX event_open ON event (topic, subject) WHERE acknowledged IS NULL;
CREATE INDEX event_closed ON event (acknowledged) WHERE acknowledged IS NOT NULL;

-- How far each webhook has been told of each event.
CREATE TABLE event_delivery (
    event_id TEXT NOT NULL,
    webhook TEXT NOT NULL,
    told BIGINT NOT NULL,                   -- changes that its last answer has taken note of
    told_at BIGINT,
    attempts BIGINT NOT NULL,               -- since then
    next_at BIGINT NOT NULL,
    lease_until BIGINT,
    error TEXT,
    PRIMARY KEY (event_id, webhook)
);
