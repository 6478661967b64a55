-- Revert apikeyd:own_operators from pg
-- There is nothing to go back to: what it made anew is what "notify" and "announce" make today.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
COMMIT;
