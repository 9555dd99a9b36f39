-- What waits for its far end is found by its target. With to_id in front the index is also the better choice for a planner
-- that takes `to_id IS NULL` for an equality and would else walk through everything that waits.
DROP INDEX edge_pending;
CREATE INDEX edge_waiting ON edge (to_id, target) WHERE to_id IS NULL;
