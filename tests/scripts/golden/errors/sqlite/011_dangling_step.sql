SELECT 1;
-- step: nothing follows
