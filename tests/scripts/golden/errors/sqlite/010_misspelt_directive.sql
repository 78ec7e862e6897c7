-- skip_if: table t
SELECT 1;
