-- skip-if: column t
SELECT 1;
