-- Revert apikeyd:notify from pg
-- Also where a trigger is missing: to revert and deploy again is how one is repaired.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

DROP TRIGGER IF EXISTS apikeyd_notify_truncate ON api.user_api_key;
DROP TRIGGER IF EXISTS apikeyd_notify_update ON api.user_api_key;
DROP TRIGGER IF EXISTS apikeyd_notify_rows ON api.user_api_key;
DROP FUNCTION IF EXISTS apikeyd.notify_key_change();

COMMIT;
