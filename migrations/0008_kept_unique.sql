-- Attributes of the operator's schemas whose values all stand in lookup, so that two cannot have the same.
CREATE TABLE kept_unique (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,                     -- with its URN
    PRIMARY KEY (kind, name)
);
