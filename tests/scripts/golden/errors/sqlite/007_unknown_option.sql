-- migrate:up transaktion:false
SELECT 1;
