-- Revert apikeyd:key_index from pg
-- The index goes only if the deploy made it.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

ALTER TABLE api.user_api_key RESET (fillfactor);

DO $$
BEGIN
    IF obj_description(to_regclass('api.user_api_key_key_id_idx'), 'pg_class') = 'made by apikeyd' THEN
        DROP INDEX api.user_api_key_key_id_idx;
    END IF;
END
$$;

COMMIT;
