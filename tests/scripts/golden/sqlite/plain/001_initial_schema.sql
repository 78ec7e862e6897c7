-- The first tables; a file without directives is all up.
CREATE TABLE assistants (
  id TEXT PRIMARY KEY,   -- a comment; with a semicolon, and a quote: it's fine
  name TEXT NOT NULL DEFAULT 'it''s; -- no comment'
);
/* A block comment; with 'quotes' and
   -- migrate:down
*/
CREATE TABLE log (id INTEGER PRIMARY KEY, "odd;name" TEXT, [other;name] TEXT, `third;name` TEXT);

CREATE TEMP TABLE scratch (id);
;;
CREATE TRIGGER assistants_insert AFTER INSERT ON assistants
WHEN new.name <> 'END;'
BEGIN
  -- migrate:down is only a comment here
  UPDATE assistants SET name = CASE WHEN new.name = '' THEN 'x' ELSE new.name END;
  INSERT INTO log ("odd;name") SELECT CASE 1 WHEN 1 THEN 'a' END;
END;
CREATE INDEX IF NOT EXISTS log_odd ON log ("odd;name");
INSERT INTO log ("odd;name") VALUES ('a'), ('b')
