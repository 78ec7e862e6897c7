-- depends: 3
SELECT 1;
