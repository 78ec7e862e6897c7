-- migrate:up
CREATE TABLE IF NOT EXISTS `{prefix}conversations` (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  data JSON COMMENT '{"like": "{this}"}',
  PRIMARY KEY (id)
) ENGINE=InnoDB {charset_collate};
-- skip-if: column {prefix}conversations.rating
ALTER TABLE {prefix}conversations ADD COLUMN rating INT;
CREATE OR REPLACE VIEW {prefix}summary AS SELECT c.id FROM {prefix}conversations c;
INSERT IGNORE INTO {prefix}settings (k, v) VALUES ('url', 'https://{site}/{unknown}');
-- migrate:down
DROP VIEW IF EXISTS {prefix}summary;
DROP TABLE IF EXISTS {prefix}conversations;
-- migrate:verify
-- check: {prefix}conversations is there
SELECT count(*) FROM {prefix}conversations;
