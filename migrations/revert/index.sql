-- Revert apikeyd:index from pg
-- The index goes only if a deploy made it.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '2s';

DO $$
BEGIN
    IF obj_description(to_regclass('api.user_api_key_key_id_idx'), 'pg_class') = 'made by apikeyd' THEN
        DROP INDEX api.user_api_key_key_id_idx;
    END IF;
    IF (SELECT relkind FROM pg_class WHERE oid = 'api.user_api_key'::regclass) = 'r' THEN
        ALTER TABLE api.user_api_key RESET (fillfactor);
    END IF;
END
$$;

COMMIT;
