PRAGMA main.foreign_keys(1);
CREATE TABLE a (id);
