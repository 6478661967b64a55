-- Deploy apikeyd_rotation:rotation to pg
-- Made by tests/harness/migrations.py. It may run again at any time.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- The column by which `apikeyctl keys rotate` links a key with the one that it takes the place of. The
-- daemon does not read it. ALTER TABLE keeps others away for an instant; behind another transaction it
-- would wait, and all others behind it. So each attempt waits for at most 100 ms. It is no foreign key:
-- a key can be deleted whether it has a successor or not.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    patience CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
    attempts CONSTANT int := 30;
    named CONSTANT pg_catalog.text := E'"api"."user_api_key"';
    id_column CONSTANT pg_catalog.text := E'api_key_id';
    link_column CONSTANT pg_catalog.text := E'successor_of';
    id_type pg_catalog.text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- The type under a domain, which may demand a value in each row.
    SELECT CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod)
        ELSE format_type(a.atttypid, a.atttypmod) END
    INTO id_type
    FROM pg_attribute AS a
    JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass(named) AND a.attname = id_column AND NOT a.attisdropped;
    IF id_type IS NULL THEN
        RAISE EXCEPTION '% is no table with a column %', named, id_column
            USING HINT = 'Name the table and its columns in the section [postgres] of the configuration.';
    END IF;

    FOR attempt IN 1 .. attempts LOOP
        EXIT WHEN EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = to_regclass(named) AND attname = link_column AND NOT attisdropped
        );
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', true);
            EXECUTE format('ALTER TABLE %s ADD %I %s', named, link_column, id_type);
        EXCEPTION
            WHEN lock_not_available THEN
                IF attempt = attempts THEN
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

COMMIT;

SET search_path = pg_catalog, pg_temp;
SELECT relkind <> 'p' AS whole FROM pg_class WHERE oid = 'api.user_api_key'::regclass \gset
\if :whole
    -- It keeps no writer away, but waits for transactions that have changed the table.
    SET lock_timeout = '60s';
    CREATE INDEX CONCURRENTLY IF NOT EXISTS "user_api_key_successor_of_idx" ON "api"."user_api_key" ("successor_of")
    WHERE "successor_of" IS NOT NULL;
\endif
