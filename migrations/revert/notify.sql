-- Revert apikeyd:notify from pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

DROP TRIGGER apikeyd_notify_truncate ON api.user_api_key;
DROP TRIGGER apikeyd_notify_update ON api.user_api_key;
DROP TRIGGER apikeyd_notify_rows ON api.user_api_key;
DROP FUNCTION apikeyd.notify_key_change();

COMMIT;
