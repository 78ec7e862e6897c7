-- migrate:sync
CREATE INDEX i ON other.t (a);
