-- What every question of visibility reads, each in one narrow place: how a thing stands, without its document, and where
-- it points, found by where it begins. Statements name these indexes (store/around.rs), a planner without statistics would
-- not take them.
CREATE INDEX entity_standing ON entity (id, kind, realm, active, state, flags, ordered_at, created);
CREATE INDEX edge_sight ON edge (from_id, to_id, rel)
    WHERE to_id IS NOT NULL AND rel IN ('pairing', 'concerns', 'belongs_to', 'customer');
CREATE INDEX edge_works ON edge (from_id, to_id, rel) WHERE to_id IS NOT NULL AND rel = 'works_for';
CREATE INDEX edge_merged ON edge (from_id, to_id, rel) WHERE to_id IS NOT NULL AND rel = 'merged_into';
-- What is left of edge_from: the members of a group.
CREATE INDEX edge_member ON edge (from_id, to_id, rel) WHERE rel = 'member';
DROP INDEX edge_from;
