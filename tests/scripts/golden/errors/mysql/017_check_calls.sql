-- migrate:verify
CALL p();
