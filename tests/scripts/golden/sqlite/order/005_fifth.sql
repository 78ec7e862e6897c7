-- depends: 001, 2, other/7
SELECT 5;
