-- Revert apikeyd:role from pg
-- Made by tests/harness/migrations.py. The role stays where another database needs it.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- Away with the role's rights, and with the role unless something else in this server needs it.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    role CONSTANT pg_catalog.text := E'apikeyd';
    keys pg_catalog.regclass;
    space pg_catalog.regnamespace;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    keys := to_regclass(E'"api"."user_api_key"');
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
        IF keys IS NOT NULL THEN
            EXECUTE format('REVOKE ALL ON %s FROM %I', keys, role);
            space := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = keys);
            -- Unless another table of keys there has our triggers.
            IF NOT EXISTS (
                SELECT FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid
                WHERE tgfoid = to_regprocedure('apikeyd.notify_key_change()') AND c.oid <> keys
                    AND c.relnamespace = space
            ) THEN
                EXECUTE format('REVOKE USAGE ON SCHEMA %s FROM %I', space, role);
            END IF;
        END IF;
        -- A role that is made again is another role: sessions from before would have none of its rights.
        IF EXISTS (SELECT FROM pg_stat_activity WHERE usename = role) THEN
            RAISE NOTICE 'role % stays: it has sessions', role;
        ELSE
            BEGIN
                EXECUTE format('DROP ROLE %I', role);
            EXCEPTION
                WHEN dependent_objects_still_exist OR insufficient_privilege OR object_in_use THEN
                    RAISE NOTICE 'role % stays: %', role, SQLERRM;
            END;
        END IF;
    END IF;
    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

COMMIT;
