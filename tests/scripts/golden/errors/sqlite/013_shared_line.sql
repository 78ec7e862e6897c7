SELECT 1; -- skip-if: table t
SELECT 2;
