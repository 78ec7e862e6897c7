CREATE TABLE t (id,
 name TEXT
