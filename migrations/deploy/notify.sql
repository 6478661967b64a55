-- Deploy apikeyd:notify to pg
-- What it made is made by "triggers" now, from any state.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
COMMIT;
