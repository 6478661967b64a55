-- Verify apikeyd_rotation:rotation on pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT successor_of = api_key_id FROM api.user_api_key WHERE false;

ROLLBACK;
