-- Revert apikeyd:triggers from pg
-- Made by tests/harness/migrations.py. Also where a part is missing.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- Away with the triggers. Each attempt waits for at most 100 ms, and holds nothing in between.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    patience CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
    named CONSTANT pg_catalog.text := E'"api"."user_api_key"';
    f pg_catalog.record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR attempt IN 1 .. 30 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', true);
            FOR f IN
                WITH RECURSIVE tree (oid) AS (
                    SELECT to_regclass(named)::oid
                    UNION
                    SELECT i.inhrelid FROM pg_inherits AS i JOIN tree ON tree.oid = i.inhparent
                )
                SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) AS sql
                FROM tree
                JOIN pg_trigger AS t ON t.tgrelid = tree.oid
                WHERE t.tgparentid = 0 AND t.tgfoid = to_regprocedure('apikeyd.notify_key_change()')
                ORDER BY 1
            LOOP
                EXECUTE f.sql;
            END LOOP;
            EXIT;
        EXCEPTION
            WHEN lock_not_available THEN
                IF attempt = 30 THEN
                    RAISE EXCEPTION '% is locked by another session', named
                        USING ERRCODE = 'lock_not_available',
                            HINT = 'Let its transaction end (see pg_stat_activity), and repeat this.';
                END IF;
                PERFORM pg_sleep(least(attempt * 0.1, 1));
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', patience, true);
    PERFORM set_config('search_path', path, true);
END
$apikeyd$;
-- Away with the functions and the table of changes, unless another table's triggers use them.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    patience CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
    f pg_catalog.record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM set_config('lock_timeout', '100ms', true);
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = to_regprocedure('apikeyd.notify_key_change()')) THEN
        FOR f IN
            SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = to_regnamespace('apikeyd')
        LOOP
            EXECUTE format('DROP FUNCTION %s', f.name);
        END LOOP;
        DROP TABLE IF EXISTS apikeyd.unannounced_change;
        IF to_regnamespace('apikeyd') IS NOT NULL THEN
            BEGIN
                DROP SCHEMA apikeyd;
            EXCEPTION
                WHEN dependent_objects_still_exist THEN
                    REVOKE USAGE ON SCHEMA apikeyd FROM PUBLIC;
            END;
        END IF;
    END IF;
    PERFORM set_config('lock_timeout', patience, true);
    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

COMMIT;
