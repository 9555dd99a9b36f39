-- Lists: whole counts and long walks read nothing but these. A partial index does not spare SQLite the look at `state`.
DROP INDEX entity_list;
CREATE INDEX entity_list ON entity (kind, realm, id, state) WHERE state <> 'tombstone';
-- What a source has let go of, and therefore does not see.
CREATE INDEX assertion_ended ON assertion (source, entity_id) WHERE ended;
