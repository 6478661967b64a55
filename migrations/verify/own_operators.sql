-- Verify apikeyd:own_operators on pg
-- What it made is verified by "triggers" now.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
ROLLBACK;
