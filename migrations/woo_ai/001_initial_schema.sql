-- Initial schema of the Woo AI Assistant: six tables and two views.
-- {prefix} is the site's table prefix, {wpdb_users} its table of users (shared by all sites of a
-- network), {charset_collate} the site's character set. Constraints carry the prefix too, since
-- their names are one namespace in the whole database.

-- step: Create conversations table
CREATE TABLE IF NOT EXISTS `{prefix}woo_ai_conversations` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT,
  `user_id` bigint unsigned DEFAULT NULL COMMENT 'WordPress user; NULL for a guest',
  `session_id` varchar(64) NOT NULL,
  `status` varchar(20) NOT NULL DEFAULT 'active',
  `rating` tinyint unsigned DEFAULT NULL COMMENT '1 to 5 stars',
  `handoff_requested` boolean NOT NULL DEFAULT 0,
  `context` json DEFAULT NULL,
  `started_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `ended_at` datetime DEFAULT NULL,
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `updated_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`),
  UNIQUE KEY `session_id` (`session_id`),
  KEY `user_started` (`user_id`, `started_at`),
  KEY `status_started` (`status`, `started_at`),
  KEY `handoff_status` (`handoff_requested`, `status`),
  KEY `started_at` (`started_at`),
  CONSTRAINT `{prefix}woo_ai_conversations_status`
    CHECK (`status` IN ('active', 'completed', 'abandoned')),
  CONSTRAINT `{prefix}woo_ai_conversations_rating` CHECK (`rating` BETWEEN 1 AND 5)
) ENGINE=InnoDB {charset_collate};

-- step: Create messages table
CREATE TABLE IF NOT EXISTS `{prefix}woo_ai_messages` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT,
  `conversation_id` bigint unsigned NOT NULL,
  `role` varchar(20) NOT NULL,
  `content` longtext NOT NULL,
  `tokens_used` int unsigned DEFAULT NULL,
  `model_used` varchar(100) DEFAULT NULL,
  `metadata` json DEFAULT NULL,
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`),
  KEY `conversation_created` (`conversation_id`, `created_at`),
  KEY `model_created` (`model_used`, `created_at`),
  CONSTRAINT `{prefix}woo_ai_messages_role` CHECK (`role` IN ('user', 'assistant', 'system')),
  CONSTRAINT `{prefix}woo_ai_messages_conversation` FOREIGN KEY (`conversation_id`)
    REFERENCES `{prefix}woo_ai_conversations` (`id`) ON DELETE CASCADE
) ENGINE=InnoDB {charset_collate};

-- step: Create knowledge base table
CREATE TABLE IF NOT EXISTS `{prefix}woo_ai_knowledge_base` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT,
  `content_type` varchar(50) NOT NULL COMMENT 'product, page, post and so on',
  `content_id` bigint unsigned DEFAULT NULL COMMENT 'WordPress object; NULL for what is none',
  `chunk_index` int unsigned NOT NULL DEFAULT 0,
  `chunk_text` longtext NOT NULL,
  `chunk_hash` char(64) NOT NULL COMMENT 'SHA-256 in hex, against duplicates',
  `embedding` longtext DEFAULT NULL COMMENT 'JSON array of numbers; NULL until computed',
  `embedding_model` varchar(100) DEFAULT NULL,
  `metadata` json DEFAULT NULL,
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `updated_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`),
  UNIQUE KEY `chunk_hash` (`chunk_hash`),
  KEY `content` (`content_type`, `content_id`, `chunk_index`),
  KEY `updated_at` (`updated_at`)
) ENGINE=InnoDB {charset_collate};

-- step: Create settings table
CREATE TABLE IF NOT EXISTS `{prefix}woo_ai_settings` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT,
  `setting_key` varchar(191) NOT NULL,
  `setting_value` longtext DEFAULT NULL COMMENT 'text, or JSON',
  `setting_group` varchar(50) NOT NULL DEFAULT 'general',
  `is_sensitive` boolean NOT NULL DEFAULT 0,
  `autoload` boolean NOT NULL DEFAULT 1,
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `updated_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`),
  UNIQUE KEY `setting_key` (`setting_key`),
  KEY `setting_group` (`setting_group`),
  KEY `autoload` (`autoload`)
) ENGINE=InnoDB {charset_collate};

-- step: Create analytics table
CREATE TABLE IF NOT EXISTS `{prefix}woo_ai_analytics` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT,
  `metric_type` varchar(100) NOT NULL,
  `metric_value` decimal(20,4) NOT NULL DEFAULT 0,
  `context` json DEFAULT NULL,
  `conversation_id` bigint unsigned DEFAULT NULL,
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`),
  KEY `metric_created` (`metric_type`, `created_at`),
  KEY `conversation_id` (`conversation_id`),
  KEY `created_at` (`created_at`),
  CONSTRAINT `{prefix}woo_ai_analytics_conversation` FOREIGN KEY (`conversation_id`)
    REFERENCES `{prefix}woo_ai_conversations` (`id`) ON DELETE SET NULL
) ENGINE=InnoDB {charset_collate};

-- step: Create action logs table
CREATE TABLE IF NOT EXISTS `{prefix}woo_ai_action_logs` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT,
  `action_type` varchar(100) NOT NULL,
  `conversation_id` bigint unsigned DEFAULT NULL,
  `user_id` bigint unsigned DEFAULT NULL COMMENT 'WordPress user; NULL for a guest',
  `details` json DEFAULT NULL,
  `success` boolean NOT NULL DEFAULT 1,
  `severity` varchar(20) NOT NULL DEFAULT 'info',
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`),
  KEY `action_created` (`action_type`, `created_at`),
  KEY `conversation_id` (`conversation_id`),
  KEY `user_created` (`user_id`, `created_at`),
  KEY `severity_created` (`severity`, `created_at`),
  KEY `success_created` (`success`, `created_at`),
  CONSTRAINT `{prefix}woo_ai_action_logs_severity`
    CHECK (`severity` IN ('debug', 'info', 'warning', 'error', 'critical')),
  CONSTRAINT `{prefix}woo_ai_action_logs_conversation` FOREIGN KEY (`conversation_id`)
    REFERENCES `{prefix}woo_ai_conversations` (`id`) ON DELETE SET NULL
) ENGINE=InnoDB {charset_collate};

-- What a site has set already stays as it is, so the rows are only added where they are missing.
-- step: Insert default settings
-- redo-safe
INSERT IGNORE INTO `{prefix}woo_ai_settings`
  (`setting_key`, `setting_value`, `setting_group`, `is_sensitive`)
VALUES
  ('assistant_enabled', '1', 'general', 0),
  ('assistant_name', 'Woo AI Assistant', 'general', 0),
  ('welcome_message', 'Hello! How can I help you today?', 'general', 0),
  ('language', 'auto', 'general', 0),
  ('widget_position', 'bottom-right', 'appearance', 0),
  ('widget_color', '#7f54b3', 'appearance', 0),
  ('ai_model', 'default', 'ai', 0),
  ('ai_temperature', '0.7', 'ai', 0),
  ('ai_max_tokens', '1024', 'ai', 0),
  ('api_key', NULL, 'ai', 1),
  ('kb_content_types', '["product", "page", "post"]', 'knowledge_base', 0),
  ('kb_chunk_size', '1000', 'knowledge_base', 0),
  ('kb_auto_index', '1', 'knowledge_base', 0),
  ('handoff_enabled', '0', 'handoff', 0),
  ('handoff_email', NULL, 'handoff', 1),
  ('rate_limit_per_hour', '50', 'limits', 0),
  ('conversation_retention_days', '90', 'privacy', 0),
  ('log_level', 'info', 'advanced', 0);

-- The views run with the rights of whoever reads them, so that they outlive the account that
-- made them.
-- step: Create conversation summary view
CREATE OR REPLACE SQL SECURITY INVOKER VIEW `{prefix}woo_ai_conversation_summary` AS
SELECT
  c.`id`,
  c.`session_id`,
  c.`user_id`,
  coalesce(u.`display_name`, 'Guest') AS `user_name`,
  u.`user_email`,
  c.`status`,
  c.`rating`,
  c.`handoff_requested`,
  c.`started_at`,
  c.`ended_at`,
  (SELECT count(*) FROM `{prefix}woo_ai_messages` m
    WHERE m.`conversation_id` = c.`id`) AS `message_count`,
  (SELECT coalesce(sum(m.`tokens_used`), 0) FROM `{prefix}woo_ai_messages` m
    WHERE m.`conversation_id` = c.`id`) AS `total_tokens`,
  (SELECT max(m.`created_at`) FROM `{prefix}woo_ai_messages` m
    WHERE m.`conversation_id` = c.`id`) AS `last_message_at`
FROM `{prefix}woo_ai_conversations` c
LEFT JOIN `{wpdb_users}` u ON u.`ID` = c.`user_id`;

-- step: Create knowledge base summary view
CREATE OR REPLACE SQL SECURITY INVOKER VIEW `{prefix}woo_ai_kb_summary` AS
SELECT
  k.`content_type`,
  count(*) AS `chunk_count`,
  count(DISTINCT k.`content_id`) AS `content_count`,
  count(k.`embedding`) AS `embedded_count`,
  sum(char_length(k.`chunk_text`)) AS `total_characters`,
  max(k.`updated_at`) AS `last_updated_at`
FROM `{prefix}woo_ai_knowledge_base` k
GROUP BY k.`content_type`;

-- migrate:down
-- step: Drop knowledge base summary view
DROP VIEW IF EXISTS `{prefix}woo_ai_kb_summary`;
-- step: Drop conversation summary view
DROP VIEW IF EXISTS `{prefix}woo_ai_conversation_summary`;
-- step: Drop action logs table
DROP TABLE IF EXISTS `{prefix}woo_ai_action_logs`;
-- step: Drop analytics table
DROP TABLE IF EXISTS `{prefix}woo_ai_analytics`;
-- step: Drop settings table
DROP TABLE IF EXISTS `{prefix}woo_ai_settings`;
-- step: Drop knowledge base table
DROP TABLE IF EXISTS `{prefix}woo_ai_knowledge_base`;
-- step: Drop messages table
DROP TABLE IF EXISTS `{prefix}woo_ai_messages`;
-- step: Drop conversations table
DROP TABLE IF EXISTS `{prefix}woo_ai_conversations`;

-- migrate:verify
-- check: Six tables exist
SELECT count(*) = 6 FROM information_schema.tables
WHERE table_schema = database() AND table_type = 'BASE TABLE' AND table_name IN (
  '{prefix}woo_ai_conversations', '{prefix}woo_ai_messages', '{prefix}woo_ai_knowledge_base',
  '{prefix}woo_ai_settings', '{prefix}woo_ai_analytics', '{prefix}woo_ai_action_logs'
);
-- check: Tables are InnoDB
SELECT count(*) = 0 FROM information_schema.tables
WHERE table_schema = database() AND engine <> 'InnoDB' AND table_name IN (
  '{prefix}woo_ai_conversations', '{prefix}woo_ai_messages', '{prefix}woo_ai_knowledge_base',
  '{prefix}woo_ai_settings', '{prefix}woo_ai_analytics', '{prefix}woo_ai_action_logs'
);
-- check: Foreign keys exist
SELECT count(*) = 3 FROM information_schema.referential_constraints
WHERE constraint_schema = database() AND constraint_name IN (
  '{prefix}woo_ai_messages_conversation', '{prefix}woo_ai_analytics_conversation',
  '{prefix}woo_ai_action_logs_conversation'
);
-- check: Conversation summary view can be read
SELECT count(*) >= 0 FROM (SELECT 1 FROM `{prefix}woo_ai_conversation_summary` LIMIT 1) AS readable;
-- check: Knowledge base summary view can be read
SELECT count(*) >= 0 FROM (SELECT 1 FROM `{prefix}woo_ai_kb_summary` LIMIT 1) AS readable;
-- The site may change and remove settings, so that only a trace of them is asked for.
-- check: Default settings were inserted
SELECT count(*) > 0 FROM `{prefix}woo_ai_settings`;
