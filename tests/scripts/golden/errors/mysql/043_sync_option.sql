-- migrate:sync transaction:false
CREATE TABLE t (id INT);
