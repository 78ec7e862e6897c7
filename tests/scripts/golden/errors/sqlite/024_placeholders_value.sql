-- placeholders: no
SELECT 1;
