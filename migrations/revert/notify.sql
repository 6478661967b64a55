-- Revert apikeyd:notify from pg

BEGIN;

DROP TRIGGER apikeyd_notify_truncate ON api.user_api_key;
DROP TRIGGER apikeyd_notify_update ON api.user_api_key;
DROP TRIGGER apikeyd_notify_rows ON api.user_api_key;
DROP FUNCTION apikeyd.notify_key_change();

COMMIT;
