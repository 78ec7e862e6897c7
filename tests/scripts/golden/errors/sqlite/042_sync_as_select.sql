-- migrate:sync
CREATE TABLE t (id INT) AS SELECT 1 AS id;
