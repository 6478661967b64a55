-- Revert apikeyd_rotation:rotation from pg
-- All links go, the keys stay.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE api.user_api_key DROP COLUMN IF EXISTS successor_of;

COMMIT;
