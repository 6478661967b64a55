-- Revert apikeyd:usage from pg
-- Made by tests/harness/migrations.py. A table that holds counts stays.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- Away with view, functions and tables of counts. A table that holds counts stays.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    role CONSTANT pg_catalog.text := E'apikeyd';
    f pg_catalog.record;
    used pg_catalog.bool;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    IF to_regprocedure(E'"api"."user_api_key_usage_days"' || '()') IS NOT NULL THEN
        DROP VIEW IF EXISTS "api"."user_api_key_usage_daily";
        DROP FUNCTION "api"."user_api_key_usage_days"();
    END IF;
    IF to_regprocedure(E'"api"."user_api_key_usage_maintain"' || '()') IS NOT NULL THEN
        DROP FUNCTION "api"."user_api_key_usage_maintain"();
    END IF;
    FOR f IN
        SELECT oid::regclass AS name,
            coalesce(obj_description(oid, 'pg_class') LIKE '%Made by apikeyd.', false) AS ours
        FROM pg_class
        WHERE oid IN (to_regclass(E'"api"."user_api_key_usage"'), to_regclass(E'"api"."apikeyd_ledger"')) AND relkind IN ('r', 'p')
        ORDER BY oid = to_regclass(E'"api"."apikeyd_ledger"')
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', f.name) INTO used;
        IF NOT used AND f.ours THEN
            EXECUTE format('DROP TABLE %s', f.name);
        ELSE
            RAISE NOTICE '% stays: %', f.name,
                CASE WHEN used THEN 'it holds counts' ELSE 'apikeyd has not made it' END;
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('REVOKE ALL ON %s FROM %I', f.name, role);
            END IF;
        END IF;
    END LOOP;
    PERFORM set_config('search_path', path, true);
END
$apikeyd$;


COMMIT;
