-- What a directory must be asked for again although it may look the same: few, and found without looking at the others.
CREATE INDEX assertion_unsure ON assertion (source, kind, key) WHERE digest IS NULL AND alias IS NOT NULL AND NOT ended;
