-- Deploy apikeyd:key_index to pg
-- What it made is made by "index" now, from any state.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
COMMIT;
