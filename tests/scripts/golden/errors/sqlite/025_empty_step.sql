-- step:
SELECT 1;
