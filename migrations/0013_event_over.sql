-- A cause may also say that what its subject was raised for is over: who says so. It brings no changes then.
ALTER TABLE event_cause ADD COLUMN over_by TEXT;
