-- Verify apikeyd:triggers on pg
-- tgtype: INSERT is 4, DELETE 8, UPDATE 16 and TRUNCATE 32. `apikeyctl schema check` looks closer.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT 1 / (bit_or(t.tgtype) & 60 = 60)::int
FROM pg_trigger AS t
WHERE t.tgrelid = 'api.user_api_key'::regclass AND t.tgenabled = 'A'
    AND t.tgfoid = 'apikeyd.notify_key_change'::regproc
    AND t.tgargs = convert_to('key_id', 'UTF8') || '\x00';

SELECT apikeyd.lacks_columns('api.user_api_key', ARRAY['key_id']);

SELECT xid, made_at FROM apikeyd.unannounced_change WHERE false;

ROLLBACK;
