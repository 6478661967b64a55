--- functions
-- What follows may run again at any time: each block looks for what is missing, and changes nothing else.
-- The functions, and the table of changes that could not be notified.
--
-- A change of a key is announced on channel apikeyd_key. Payload: the first 16 bytes of the SHA-256 of
-- what the key column holds in hex, or * for any key, then a blank and the time in microseconds since
-- 1970. Any role may LISTEN, so the key itself must not be sent.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    f pg_catalog.record;
BEGIN
    -- No object of another role is taken by name. The path is put back below, for what the
    -- transaction does next.
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- The owner of one of these can have every role that changes a key run his code. Who may act as the
    -- table's owner could anyway.
    SELECT o.name, r.rolname INTO f
    FROM (
        SELECT 'schema apikeyd', nspowner FROM pg_namespace WHERE nspname = 'apikeyd'
        UNION ALL
        SELECT format('table %s', oid::regclass), relowner
        FROM pg_class
        WHERE oid = to_regclass('apikeyd.unannounced_change')
        UNION ALL
        SELECT format('function %s', oid::regprocedure), proowner
        FROM pg_proc
        WHERE pronamespace = to_regnamespace('apikeyd')
    ) AS o (name, owner)
    JOIN pg_roles AS r ON r.oid = o.owner
    JOIN pg_database AS d ON d.datname = current_database()
    WHERE r.rolname <> current_user AND r.oid <> d.datdba
        AND NOT pg_has_role(r.oid, coalesce(
            (SELECT relowner FROM pg_class WHERE oid = to_regclass(@table_text@)), d.datdba), 'MEMBER')
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% belongs to role %, which may not act as the owner of the table of keys', f.name, f.rolname
            USING HINT = 'As a superuser: DROP SCHEMA apikeyd CASCADE; then repeat this.';
    END IF;

    IF to_regnamespace('apikeyd') IS NULL THEN
        CREATE SCHEMA apikeyd;
    END IF;
    -- The daemon may listen as any role. Nothing but transaction IDs is here.
    IF NOT has_schema_privilege('public', 'apikeyd', 'USAGE') THEN
        GRANT USAGE ON SCHEMA apikeyd TO PUBLIC;
    END IF;

    -- Transactions whose changes could not be notified, as the notification queue was more than half
    -- full: a full queue fails a COMMIT, where no trigger can help. Each heartbeat of a daemon looks
    -- for new rows here. They tell nothing to a subscriber, so they are UNLOGGED.
    IF to_regclass('apikeyd.unannounced_change') IS NULL THEN
        CREATE UNLOGGED TABLE apikeyd.unannounced_change (
            xid xid8 PRIMARY KEY DEFAULT pg_current_xact_id(),
            made_at timestamptz NOT NULL DEFAULT now()
        );
        COMMENT ON TABLE apikeyd.unannounced_change IS
            'Transactions that changed keys while the notification queue was more than half full.';
    END IF;
    IF EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'apikeyd.unannounced_change'::regclass AND attnum > 0 AND NOT attisdropped
            AND atttypid NOT IN ('xid8'::regtype, 'timestamptz'::regtype)
    ) THEN
        RAISE EXCEPTION 'a column of apikeyd.unannounced_change has a type that is not PostgreSQL''s own'
            USING HINT = 'Undo the schema and make it again.';
    END IF;
    -- A default that calls another role's function runs with the rights of the function below.
    -- PostgreSQL's own are in no dependency.
    IF EXISTS (
        SELECT
        FROM pg_attrdef AS a
        JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
        WHERE a.adrelid = 'apikeyd.unannounced_change'::regclass
            AND d.refclassid IN ('pg_operator'::regclass, 'pg_proc'::regclass)
    ) THEN
        ALTER TABLE apikeyd.unannounced_change
            ALTER xid SET DEFAULT pg_current_xact_id(),
            ALTER made_at SET DEFAULT now();
    END IF;
    IF NOT has_table_privilege('public', 'apikeyd.unannounced_change', 'SELECT') THEN
        GRANT SELECT ON apikeyd.unannounced_change TO PUBLIC;
    END IF;

    FOR f IN
        SELECT * FROM (VALUES
            -- Whether the queue is so full that this transaction was noted instead. It runs with its
            -- owner's rights: a role that changes a key needs none on the table. It takes nothing from
            -- its caller. What no daemon needs any more goes meanwhile, and nobody waits for that.
            ('note_unannounced_change()', 'boolean', 'plpgsql', 'VOLATILE', 'SECURITY DEFINER', $body$
BEGIN
    BEGIN
        DELETE FROM apikeyd.unannounced_change
        WHERE xid = ANY (ARRAY(
            SELECT xid FROM apikeyd.unannounced_change
            WHERE made_at < now() - interval '1 hour'
                AND xid = ANY (ARRAY(SELECT xid FROM apikeyd.unannounced_change ORDER BY xid LIMIT 100))
            FOR UPDATE SKIP LOCKED
        ));
    EXCEPTION
        WHEN OTHERS THEN
            NULL; -- the next one does it
    END;
    IF pg_notification_queue_usage() <= 0.5 THEN
        RETURN false;
    END IF;
    INSERT INTO apikeyd.unannounced_change DEFAULT VALUES ON CONFLICT DO NOTHING;
    RETURN true;
END
$body$),
            -- The triggers' function. Its arguments are the columns that hold keys. It runs as whoever
            -- made the change: the columns' types, and with them the casts to text, are the table
            -- owner's to choose. It never fails the statement that fired it.
            ('notify_key_change()', 'trigger', 'plpgsql', 'VOLATILE', 'SECURITY INVOKER', $body$
DECLARE
    -- Changes that one transaction announces by name. Beyond that it announces * once, as PostgreSQL
    -- drops a notification that equals an earlier one of the same transaction.
    announced_max CONSTANT int := 1000;
    announced int := announced_max;  -- so far in this transaction
    columns text;
    keys text[];
    digests text[] := '{}';
BEGIN
    -- A setting that somebody made up announces too much at worst, and so does a column that is gone.
    BEGIN
        IF TG_OP <> 'TRUNCATE' THEN
            announced := coalesce(nullif(current_setting('apikeyd.announced', true), ''), '0')::int;
        END IF;
        IF announced BETWEEN 0 AND announced_max - 1 THEN
            SELECT string_agg(format('$1.%I::text', a), ', ') INTO columns FROM unnest(TG_ARGV) AS a;
            columns := format('SELECT array[%s]', columns);
            CASE TG_OP
                WHEN 'INSERT' THEN
                    EXECUTE columns INTO keys USING NEW;
                WHEN 'DELETE' THEN
                    EXECUTE columns INTO keys USING OLD;
                ELSE
                    EXECUTE concat(columns, ' || ', replace(substr(columns, 8), '$1.', '$2.'))
                    INTO keys USING OLD, NEW;
            END CASE;
            FOR i IN 1 .. array_length(keys, 1) LOOP
                BEGIN
                    IF keys[i] IS NOT NULL AND keys[i] <> ALL (keys[: i - 1]) IS NOT FALSE THEN
                        digests := digests ||
                            left(encode(sha256(convert_to(keys[i], 'UTF8')), 'hex'), 32);
                    END IF;
                EXCEPTION
                    -- No caller can send this key, as it has to be UTF-8.
                    WHEN character_not_in_repertoire OR untranslatable_character THEN
                        NULL;
                END;
            END LOOP;
            PERFORM set_config('apikeyd.announced', (announced + 1)::text, true);
        ELSE
            digests := NULL;
        END IF;
    EXCEPTION
        WHEN OTHERS THEN
            digests := NULL;
            PERFORM set_config('apikeyd.announced', announced_max::text, true);
    END;

    -- Once a transaction, and before each *; a transaction that was noted is so at each change.
    IF announced <= 0 OR digests IS NULL THEN
        BEGIN
            IF apikeyd.note_unannounced_change() THEN
                PERFORM set_config('apikeyd.announced', '0', true);
                RETURN NULL;
            END IF;
        EXCEPTION
            WHEN OTHERS THEN
                NULL; -- then by notification
        END;
    END IF;

    IF digests IS NULL THEN
        PERFORM pg_notify('apikeyd_key', '* ' || (extract(epoch FROM now()) * 1000000)::bigint);
        RETURN NULL;
    END IF;
    FOR i IN 1 .. coalesce(array_length(digests, 1), 0) LOOP
        PERFORM pg_notify('apikeyd_key', digests[i] || ' '
            || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    END LOOP;
    RETURN NULL;
END
$body$),
            -- Whether the table lacks one of the columns. It is declared IMMUTABLE, so that PostgreSQL
            -- asks it once a statement and not for each row. To set a path takes time, so it names
            -- nothing that is not in pg_catalog.
            ('lacks_columns(regclass, text[])', 'boolean', 'plpgsql', 'IMMUTABLE', 'SECURITY INVOKER', $body$
BEGIN
    FOR i IN 1 .. pg_catalog.array_length($2, 1) LOOP
        IF pg_catalog.has_column_privilege($1, $2[i], 'SELECT') IS NULL THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
EXCEPTION
    WHEN OTHERS THEN
        RETURN true; -- undefined_column
END
$body$),
            -- Whether two versions of a row differ in what a verdict holds. PostgreSQL puts this text
            -- into the trigger's condition each time, so that the condition costs what a comparison of
            -- four columns costs, and depends on no column. Bytes are compared: no operator or cast of
            -- a type of the owner's runs.
            ('@comparison@(anyelement, anyelement)', 'boolean', 'sql', 'IMMUTABLE', 'SECURITY INVOKER',
                $body$@comparison_body@$body$)
        ) AS v (signature, result, language, volatility, rights, body)
    LOOP
        IF NOT EXISTS (
            SELECT
            FROM pg_proc AS p
            JOIN pg_language AS l ON l.oid = p.prolang
            WHERE p.oid = to_regprocedure('apikeyd.' || f.signature) AND p.prosrc = f.body
                AND l.lanname = f.language AND p.provolatile = lower(left(f.volatility, 1))::"char"
                AND p.prosecdef = (f.rights = 'SECURITY DEFINER')
                AND p.proconfig IS NOT DISTINCT FROM CASE f.volatility
                    WHEN 'VOLATILE' THEN ARRAY['search_path=pg_catalog, pg_temp']
                END
        ) THEN
            -- With a setting the function in SQL would be called for each row.
            EXECUTE format('CREATE OR REPLACE FUNCTION apikeyd.%s RETURNS %s LANGUAGE %s %s %s %s AS %L',
                f.signature, f.result, f.language, f.volatility, f.rights,
                CASE f.volatility WHEN 'VOLATILE' THEN 'SET search_path = pg_catalog, pg_temp' ELSE '' END,
                f.body);
        END IF;
        IF NOT has_function_privilege('public', 'apikeyd.' || f.signature, 'EXECUTE') THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION apikeyd.%s TO PUBLIC', f.signature);
        END IF;
    END LOOP;

    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

--- role
-- The role that the daemon uses, and its rights. It gets no password: give it one, or let pg_hba.conf or
-- a client certificate say who it is. Where roles log in with IAM tokens:
-- GRANT rds_iam TO @role@;
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    role CONSTANT pg_catalog.text := @role_text@;
    keys pg_catalog.regclass;
    f pg_catalog.record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- Roles belong to the whole server: another database may have made this one already.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
        BEGIN
            CREATE ROLE @role@ LOGIN;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % is missing, and % may not create roles', role, current_user
                    USING HINT = 'Have it created, or name another one with --role, or leave role and '
                        'grants out with --no-role.';
        END;
    END IF;

    -- A daemon that no longer waits for a query hangs up. With the first setting the server notices
    -- within a second, so that such queries do not pile up behind a lock. With the second, no object
    -- of another role comes before PostgreSQL's own.
    FOR f IN
        SELECT * FROM (VALUES ('client_connection_check_interval', '1s', '''1s'''),
                              ('search_path', 'pg_catalog, pg_temp', 'pg_catalog, pg_temp')) AS v (name, value, sql)
    LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_roles
            WHERE rolname = role AND rolconfig @> ARRAY[concat(f.name, '=', f.value)]
        );
        BEGIN
            EXECUTE format('ALTER ROLE %I SET %I = %s', role, f.name, f.sql);
        EXCEPTION
            WHEN insufficient_privilege OR invalid_parameter_value OR undefined_object THEN
                RAISE NOTICE '% of role % stays as it is: %', f.name, role, SQLERRM;
        END;
    END LOOP;

    keys := @table_text@::regclass;
    IF NOT has_schema_privilege(role, (SELECT relnamespace FROM pg_class WHERE oid = keys), 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I',
            (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = keys), role);
    END IF;
    FOR f IN
        SELECT * FROM (VALUES ('SELECT', ARRAY[@read_texts@]), ('UPDATE', ARRAY[@written_texts@])) AS v (verb, names)
    LOOP
        IF NOT (SELECT bool_and(has_column_privilege(role, keys, name, f.verb)) FROM unnest(f.names) AS name)
        THEN
            EXECUTE format('GRANT %s (%s) ON %s TO %I', f.verb,
                (SELECT string_agg(quote_ident(name), ', ') FROM unnest(f.names) AS name), keys, role);
        END IF;
    END LOOP;

    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

--- triggers
-- The triggers. CREATE TRIGGER keeps writers away while it runs, which is an instant; behind another
-- transaction it would wait, and all writers behind it. So each attempt waits for at most 100 ms, and
-- holds nothing in between. In a transaction of more statements let this one be the last.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    patience CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
    quoting CONSTANT pg_catalog.text := pg_catalog.current_setting('quote_all_identifiers');
    attempts CONSTANT int := 30;
    named CONSTANT pg_catalog.text := @table_text@;
    keys CONSTANT pg_catalog.text[] := ARRAY[@key_texts@];
    columns CONSTANT pg_catalog.text[] := ARRAY[@column_texts@];
    literal pg_catalog.text;
    backslash pg_catalog.text;
    kind pg_catalog."char";
    call pg_catalog.text;
    condition pg_catalog.text;
    f pg_catalog.record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    -- Triggers are printed as they are made below.
    PERFORM set_config('quote_all_identifiers', 'off', true);

    kind := (SELECT relkind FROM pg_class WHERE oid = to_regclass(named));
    IF kind IS NULL OR kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '% is not a table', named
            USING HINT = 'Name the table of keys in postgres.table.';
    END IF;
    IF EXISTS (
        SELECT FROM unnest(columns) AS name
        WHERE NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = to_regclass(named) AND attname = name AND NOT attisdropped
        )
    ) THEN
        RAISE EXCEPTION '% lacks one of the columns %', named, array_to_string(columns, ', ')
            USING HINT = 'Name its columns in the section [postgres] of the configuration.';
    END IF;
    -- Literals as PostgreSQL prints them, which is without E.
    backslash := repeat(chr(92), CASE current_setting('standard_conforming_strings') WHEN 'on' THEN 1 ELSE 2 END);
    literal := '''%s''';
    call := replace(format('EXECUTE FUNCTION apikeyd.notify_key_change(%s)',
        (SELECT string_agg(format(literal, replace(replace(name, '''', ''''''), chr(92), backslash)), ', ')
            FROM unnest(keys) AS name)), '%', '%%');
    -- A condition, not a list of columns: that would miss what a BEFORE trigger changes. As PostgreSQL
    -- prints it, so that an equal one is known.
    condition := format('WHEN ((apikeyd.lacks_columns(%%3$s::regclass, ARRAY[%s]) '
            'OR apikeyd.@comparison@(old.*, new.*)))',
        replace((SELECT string_agg(format(literal || '::text',
                replace(replace(name, '''', ''''''), chr(92), backslash)), ', ')
            FROM unnest(columns) AS name), '%', '%%'));

    FOR attempt IN 1 .. attempts LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', true);
            FOR f IN
                WITH RECURSIVE tree (oid, depth, of_all) AS (
                    -- Partitions have the row triggers of their table. Children that are none have no
                    -- triggers but their own.
                    SELECT to_regclass(named)::oid, 0, kind = 'p'
                    UNION ALL
                    SELECT i.inhrelid, tree.depth + 1, tree.of_all
                    FROM pg_inherits AS i JOIN tree ON tree.oid = i.inhparent
                ),
                wanted AS (
                    SELECT t.oid AS relation, t.depth, w.sql, t.of_all AND c.relispartition AND t.depth > 0
                            AND w.name <> 'apikeyd_notify_truncate' AS cloned,
                        -- Of a name that no other table's have, so that a table with triggers of its
                        -- own can be attached, partitioned itself or not.
                        concat(w.name, CASE
                            WHEN t.of_all AND w.name <> 'apikeyd_notify_truncate'
                                THEN concat('_of_', to_regclass(named)::oid)
                        END) AS name
                    FROM tree AS t
                    JOIN pg_class AS c USING (oid)
                    CROSS JOIN LATERAL (VALUES
                        ('apikeyd_notify_rows', 'AFTER INSERT OR DELETE ON %2$s FOR EACH ROW ' || call),
                        ('apikeyd_notify_update',
                            'AFTER UPDATE ON %2$s FOR EACH ROW ' || condition || ' ' || call),
                        ('apikeyd_notify_truncate', 'AFTER TRUNCATE ON %2$s FOR EACH STATEMENT ' || call)
                    ) AS w (name, sql)
                    WHERE c.relkind IN ('r', 'p')
                ),
                found AS (
                    SELECT w.*, t.oid AS trigger, t.tgenabled,
                        format('TRIGGER %1$I ' || w.sql, w.name, w.relation::regclass, format(literal, replace(
                            replace(w.relation::regclass::text, '''', ''''''), chr(92), backslash))) AS made
                    FROM wanted AS w
                    LEFT JOIN pg_trigger AS t ON t.tgrelid = w.relation AND t.tgname = w.name
                )
                SELECT 1 AS step, depth, 'CREATE OR REPLACE ' || made AS sql
                FROM found
                WHERE NOT cloned AND pg_get_triggerdef(trigger) IS DISTINCT FROM 'CREATE ' || made
                UNION ALL
                -- Changes that logical replication applies count too.
                SELECT 2, depth, format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', relation::regclass, name)
                FROM found
                WHERE tgenabled IS DISTINCT FROM 'A'
                    OR NOT cloned AND pg_get_triggerdef(trigger) IS DISTINCT FROM 'CREATE ' || made
                UNION
                -- Triggers of before had other names here, and conditions that depend on columns. Those
                -- of a partitioned table that was attached, or restored from a dump, have other names.
                SELECT 3, tree.depth, format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass)
                FROM tree
                JOIN pg_class AS c USING (oid)
                JOIN pg_trigger AS t ON t.tgrelid = c.oid
                WHERE t.tgparentid = 0 AND t.tgname ~ '^apikeyd_notify_(rows|update)(_of_.*)?$'
                    AND NOT EXISTS (SELECT FROM wanted WHERE relation = c.oid AND name = t.tgname)
                    AND (c.relkind = 'p' OR EXISTS (
                        SELECT FROM pg_depend
                        WHERE classid = 'pg_trigger'::regclass AND objid = t.oid
                            AND refclassid = 'pg_class'::regclass AND refobjsubid > 0))
                ORDER BY step, depth
            LOOP
                EXECUTE f.sql;
            END LOOP;
            EXIT;
        EXCEPTION
            WHEN lock_not_available THEN
                IF attempt = attempts THEN
                    RAISE EXCEPTION '% is locked by the sessions %', named, (
                        SELECT string_agg(DISTINCT l.pid::text, ', ')
                        FROM pg_locks AS l
                        WHERE l.granted AND l.pid <> pg_backend_pid()
                            AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
                            AND (l.relation = to_regclass(named) OR l.relation IN (
                                SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass(named)))
                    ) USING ERRCODE = 'lock_not_available',
                        HINT = 'Let their transactions end (see pg_stat_activity), and repeat this.';
                END IF;
                PERFORM pg_sleep(least(attempt * 0.1, 1));
        END;
    END LOOP;

    PERFORM set_config('lock_timeout', patience, true);
    PERFORM set_config('quote_all_identifiers', quoting, true);
    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

--- index
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
    named CONSTANT pg_catalog.text := @table_text@;
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
            AND c.relname IN (@index_texts@)
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
@create_indexes@
--- rotation
-- The column by which `apikeyctl keys rotate` links a key with the one that it takes the place of. The
-- daemon does not read it. ALTER TABLE keeps others away for an instant; behind another transaction it
-- would wait, and all others behind it. So each attempt waits for at most 100 ms. It is no foreign key:
-- a key can be deleted whether it has a successor or not.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    patience CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
    attempts CONSTANT int := 30;
    named CONSTANT pg_catalog.text := @table_text@;
    id_column CONSTANT pg_catalog.text := @id_text@;
    link_column CONSTANT pg_catalog.text := @successor_of_text@;
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

-- The index finds a key's successor. It has entries for successors only. CREATE INDEX CONCURRENTLY cannot
-- stand in a transaction: run it on its own. On a partitioned table leave out CONCURRENTLY.
CREATE INDEX CONCURRENTLY IF NOT EXISTS @successor_of_index@ ON @table@ (@successor_of@)
    WHERE @successor_of@ IS NOT NULL;

--- undo_rotation
-- The index, and the column with all links (in no transaction):
-- DROP INDEX CONCURRENTLY @successor_of_index_name@;
-- ALTER TABLE @table@ DROP COLUMN @successor_of@;

--- undo_triggers
-- Away with the triggers. Each attempt waits for at most 100 ms, and holds nothing in between.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    patience CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
    named CONSTANT pg_catalog.text := @table_text@;
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

--- undo_functions
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

--- undo_role
-- Away with the role's rights, and with the role unless something else in this server needs it.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    role CONSTANT pg_catalog.text := @role_text@;
    keys pg_catalog.regclass;
    space pg_catalog.regnamespace;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    keys := to_regclass(@table_text@);
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

--- undo_index
-- The indexes, if this has made them and nobody else needs them (in no transaction), and the setting:
@drop_indexes@-- ALTER TABLE @table@ RESET (fillfactor);
