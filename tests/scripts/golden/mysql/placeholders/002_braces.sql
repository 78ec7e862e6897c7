-- placeholders: off
SELECT {d '2024-01-01'}, {fn now()}, '{prefix}';
CREATE TABLE `{prefix}` (id INT);
