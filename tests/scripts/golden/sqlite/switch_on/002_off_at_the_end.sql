CREATE TABLE b (id);
PRAGMA foreign_keys = 0;
