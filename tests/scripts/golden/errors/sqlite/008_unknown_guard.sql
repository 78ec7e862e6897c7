-- skip-if: colum t.c
SELECT 1;
