-- Verify apikeyd:schema on pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT user_id FROM api."user" WHERE false;

SELECT api_key_id, key_name, key_id, user_id, last_used, is_active, created_at, updated_at
FROM api.user_api_key
WHERE false;

ROLLBACK;
