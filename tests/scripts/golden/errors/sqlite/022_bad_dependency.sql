-- depends: first
SELECT 1;
