-- Verify apikeyd:index on pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- On a partitioned table it is made by hand.
SELECT 1 / (c.relkind = 'p' OR EXISTS (
    SELECT FROM pg_index
    JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE indrelid = c.oid AND indisvalid AND attname = 'key_id'
))::int
FROM pg_class AS c
WHERE c.oid = 'api.user_api_key'::regclass;

ROLLBACK;
