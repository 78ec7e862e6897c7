-- migrate:down
DROP TABLE second;
