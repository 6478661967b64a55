-- Verify apikeyd:index on pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- On a partitioned table it is made by hand.
SELECT 1 / (c.relkind = 'p' OR EXISTS (
    SELECT FROM pg_index AS i
    WHERE i.indrelid = c.oid AND i.indisvalid AND pg_get_indexdef(i.indexrelid) LIKE '%(key_id)'
))::int
FROM pg_class AS c
WHERE c.oid = 'api.user_api_key'::regclass;

ROLLBACK;
