-- Revert apikeyd:role from pg
-- The role itself stays when other databases of the server still use it.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

REVOKE ALL (api_key_id, key_id, user_id, is_active, created_at, last_used, updated_at)
ON api.user_api_key FROM apikeyd;
REVOKE USAGE ON SCHEMA api FROM apikeyd;

DO $$
BEGIN
    DROP ROLE apikeyd;
EXCEPTION
    WHEN dependent_objects_still_exist THEN
        RAISE NOTICE 'role apikeyd is used elsewhere and stays';
END
$$;

COMMIT;
