-- Revert apikeyd:announce from pg
-- What it made is undone by "triggers" now.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
COMMIT;
