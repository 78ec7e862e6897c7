-- migrate:up
CREATE TABLE more (id INTEGER);
CREATE TRIGGER t AFTER INSERT ON more BEGIN SELECT 1; END
-- migrate:down
