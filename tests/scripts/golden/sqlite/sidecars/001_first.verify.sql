-- check: There is a table
SELECT count(*) FROM first;
SELECT 2;
