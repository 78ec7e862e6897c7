-- migrate:up
ALTER TABLE {prefix}posts RENAME COLUMN body TO content;
-- migrate:sync
CREATE TABLE IF NOT EXISTS {prefix}posts (
  id bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  content longtext NOT NULL,
  PRIMARY KEY  (id)
) {charset_collate};
create table {prefix}meta (
  id bigint unsigned not null,
  name varchar(191),
  Primary Key (id),
  key  name (name)
);
-- step: Names are looked up
CREATE FULLTEXT INDEX meta_words ON {prefix}meta (name);
-- migrate:verify
-- check: Posts are there
SELECT count(*) >= 0 FROM {prefix}posts;
