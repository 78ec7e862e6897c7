-- check: Something
SELECT 1;
