-- Deploy apikeyd:index to pg
-- Made by tests/harness/migrations.py. An index that begins with the column is kept, whatever its name is.

SET search_path = pg_catalog, pg_temp;

-- The notes of unannounced changes become UNLOGGED where an earlier version has made them: a publication
-- of all tables leaves them out then, and a subscriber's own notes do not collide with them.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    patience CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM set_config('lock_timeout', '100ms', true);
    FOR attempt IN 1 .. 30 LOOP
        EXIT WHEN NOT EXISTS (
            SELECT FROM pg_class
            WHERE oid = to_regclass('apikeyd.unannounced_change') AND relpersistence = 'p'
        );
        BEGIN
            ALTER TABLE apikeyd.unannounced_change SET UNLOGGED;
        EXCEPTION
            WHEN insufficient_privilege OR invalid_table_definition THEN
                RAISE WARNING 'apikeyd.unannounced_change stays logged: %', SQLERRM;
                EXIT;
            WHEN lock_not_available THEN
                IF attempt = 30 THEN
                    RAISE WARNING 'apikeyd.unannounced_change stays logged, as it stays locked';
                ELSE
                    PERFORM pg_sleep(least(attempt * 0.1, 1));
                END IF;
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', patience, true);
    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

-- An index on each key column, and room on each page of the table: they make lookups and usage cheap,
-- and the daemon works without. CREATE INDEX CONCURRENTLY keeps no writer away, but cannot stand in a
-- transaction: run each statement on its own. It waits until the transactions that have changed the
-- table have ended. Leave it out where another index on the column exists. Where a key stands in
-- several rows, leave out UNIQUE. On a partitioned table leave out CONCURRENTLY, and UNIQUE unless the
-- table is partitioned by the column.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    patience CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
    named CONSTANT pg_catalog.text := E'"api"."user_api_key"';
    f pg_catalog.record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM set_config('lock_timeout', '100ms', true);
    FOR f IN
        -- last_used changes often and is in no index: with room left on its page, the new version of a
        -- row needs no index entry (HOT).
        WITH RECURSIVE tree (oid) AS (
            SELECT to_regclass(named)::oid
            UNION
            SELECT i.inhrelid FROM pg_inherits AS i JOIN tree ON tree.oid = i.inhparent
        )
        SELECT format('ALTER TABLE %s SET (fillfactor = 80)', oid::regclass) AS sql
        FROM tree JOIN pg_class USING (oid)
        WHERE relkind = 'r' AND coalesce(array_to_string(reloptions, ','), '') NOT LIKE '%fillfactor=%'
        UNION ALL
        -- What an interrupted CREATE INDEX CONCURRENTLY has left.
        SELECT format('DROP INDEX %s', i.indexrelid::regclass)
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = to_regclass(named) AND NOT i.indisvalid AND c.relkind = 'i'
            AND c.relname IN (E'user_api_key_key_id_idx')
            AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid)
    LOOP
        FOR attempt IN 1 .. 30 LOOP
            BEGIN
                EXECUTE f.sql;
                EXIT;
            EXCEPTION
                WHEN lock_not_available THEN
                    IF attempt = 30 THEN
                        RAISE WARNING 'not done, as % stays locked: %', named, f.sql;
                    ELSE
                        PERFORM pg_sleep(least(attempt * 0.1, 1));
                    END IF;
            END;
        END LOOP;
    END LOOP;
    PERFORM set_config('lock_timeout', patience, true);
    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

SELECT
    relkind <> 'p' AND NOT EXISTS (
        SELECT FROM pg_index
        JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = c.oid AND indisvalid AND indpred IS NULL AND attname = 'key_id'
    ) AS wanted
FROM pg_class AS c
WHERE oid = 'api.user_api_key'::regclass \gset
\if :wanted
    SELECT EXISTS (SELECT FROM api.user_api_key GROUP BY key_id HAVING count(*) > 1) AS twice \gset
    -- It keeps no writer away, but waits for transactions that have changed the table.
    SET lock_timeout = '60s';
    \if :twice
        \warn Key IDs stand in more than one row: a plain index is made. A key passes if all of its rows are active.
        CREATE INDEX CONCURRENTLY user_api_key_key_id_idx ON api.user_api_key (key_id);
    \else
        CREATE UNIQUE INDEX CONCURRENTLY user_api_key_key_id_idx ON api.user_api_key (key_id);
    \endif
    COMMENT ON INDEX api.user_api_key_key_id_idx IS 'made by apikeyd';
\endif
