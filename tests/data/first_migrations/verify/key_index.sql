-- Verify apikeyd:key_index on pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT 1 / count(*)
FROM pg_index
WHERE indrelid = 'api.user_api_key'::regclass AND indisunique AND indisvalid
    AND pg_get_indexdef(indexrelid) LIKE '%(key_id)';

SELECT 1 / count(*)
FROM pg_class
WHERE oid = 'api.user_api_key'::regclass AND 'fillfactor=80' = ANY (reloptions);

ROLLBACK;
