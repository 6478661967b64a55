-- Revert apikeyd:key_index from pg
-- What it made is undone by "index" now.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
COMMIT;
