-- Verify apikeyd:schema on pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT user_id FROM api."user" WHERE false;

SELECT api_key_id, key_name, key_id, user_id, last_used, is_active, created_at, updated_at
FROM api.user_api_key
WHERE false;

SELECT 1 / count(*)
FROM pg_index
WHERE indrelid = 'api.user_api_key'::regclass
    AND pg_get_indexdef(indexrelid) LIKE '%(user_id)';

ROLLBACK;
