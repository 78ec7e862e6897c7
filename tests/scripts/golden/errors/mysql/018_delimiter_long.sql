DELIMITER abcdefghijklmnopq
SELECT 1;
