-- Verify apikeyd:key_index on pg
-- What it made is verified by "index" now.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
ROLLBACK;
