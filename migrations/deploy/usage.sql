-- Deploy apikeyd:usage to pg
-- Made by tests/harness/migrations.py. It may run again at any time.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- The counts of uses, and which batches of them are in. What follows may run again at any time, as all
-- of this. A row of counts changes at each flush of its hour or day, and no index has what changes: with
-- room left on its page, its new version needs no index entry (HOT).
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    patience CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
    named CONSTANT pg_catalog.text := E'"api"."user_api_key_usage"';
    noted CONSTANT pg_catalog.text := E'"api"."apikeyd_ledger"';
    monthly pg_catalog.bool;
    kind pg_catalog."char";
    last pg_catalog.timestamptz;
    f pg_catalog.record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    monthly := 0 > 0;
    FOR f IN
        SELECT * FROM (VALUES
            ('postgres.usage_table', E'api'), ('postgres.ledger_table', E'api')
        ) AS v (option, schema)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = f.schema) THEN
            RAISE EXCEPTION 'schema % is missing', f.schema
                USING HINT = 'Make it, or name a table in another one in ' || f.option || '.';
        END IF;
    END LOOP;

    -- Counts of before the retention was set become the partition of all months until now.
    kind := (SELECT relkind FROM pg_class WHERE oid = to_regclass(named));
    IF kind = 'r' AND monthly THEN
        FOR attempt IN 1 .. 30 LOOP
            BEGIN
                PERFORM set_config('lock_timeout', '100ms', true);
                LOCK TABLE "api"."user_api_key_usage" IN ACCESS EXCLUSIVE MODE;
                last := (SELECT date_trunc('month', greatest(max(bucket), now()), 'UTC') FROM "api"."user_api_key_usage");
                ALTER TABLE "api"."user_api_key_usage" RENAME TO "user_api_key_usage_before";
                CREATE TABLE "api"."user_api_key_usage" (LIKE "api"."user_api_key_usage_before" INCLUDING CONSTRAINTS, PRIMARY KEY (api_key_id, bucket, verdict))
                    PARTITION BY RANGE (bucket);
                EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (MINVALUE) TO (%L)',
                    named, E'"api"."user_api_key_usage_before"', (last AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
                EXIT;
            EXCEPTION
                WHEN lock_not_available THEN
                    IF attempt = 30 THEN
                        RAISE EXCEPTION '% stays locked', named USING ERRCODE = 'lock_not_available',
                            HINT = 'Let other transactions end (see pg_stat_activity), and repeat this.';
                    END IF;
                    PERFORM pg_sleep(least(attempt * 0.1, 1));
            END;
        END LOOP;
        PERFORM set_config('lock_timeout', patience, true);
    ELSIF kind IS NULL THEN
        CREATE TABLE "api"."user_api_key_usage" (
            api_key_id pg_catalog.uuid NOT NULL,
            bucket timestamptz NOT NULL,
            verdict text COLLATE "C" NOT NULL
                CONSTRAINT verdict_known CHECK (verdict IN ('allow', 'inactive', 'expired', 'early')),
            uses bigint NOT NULL,
            PRIMARY KEY (api_key_id, bucket, verdict)
        ) WITH (fillfactor = 80);
    ELSIF kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '% is not a table', named
            USING HINT = 'Rename it, or name another one in postgres.usage_table.';
    END IF;
    -- A table without this is somebody else's, and is not dropped with the others.
    IF kind IS NULL OR kind = 'r' AND monthly THEN
        COMMENT ON TABLE "api"."user_api_key_usage" IS
            'How often a key was allowed or refused (verdict) in the hour or day that begins at bucket. Made by apikeyd.';
    END IF;

    kind := (SELECT relkind FROM pg_class WHERE oid = to_regclass(noted));
    IF kind IS NULL THEN
        CREATE TABLE "api"."apikeyd_ledger" (
            ledger_id uuid PRIMARY KEY,
            number bigint NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now()
        ) WITH (fillfactor = 50);
        COMMENT ON TABLE "api"."apikeyd_ledger" IS 'The last batch of counts that each run of a daemon has added. Made by apikeyd.';
    ELSIF kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '% is not a table', noted
            USING HINT = 'Rename it, or name another one in postgres.ledger_table.';
    END IF;

    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

-- The function that makes partitions ahead and drops those of before the retention, and the view of
-- uses a day. No view depends on the table of keys, whose owner alters what he wants: a function has the
-- query as a text. PostgreSQL puts that in place of the function, and a reader needs the rights that the
-- query needs.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    f pg_catalog.record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    FOR f IN
        SELECT * FROM (VALUES
            -- The rows of ledger_table that it deletes are of runs that have added nothing since the months that
            -- are dropped: what a copy of their files may bring again is of these months, and is deleted too.
            -- It runs with its owner's rights, takes nothing from its caller and reads no path: so the
            -- daemon's role can keep the partitions, and cannot drop what the retention keeps. It says
            -- what it did. Locks are tried for 100 ms, and not held in between.
            (E'"api"."user_api_key_usage_maintain"', 'SETOF text',
                'plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp '
                    'SET timezone = ''UTC'' SET datestyle = ''ISO'' SET lock_timeout = ''100ms''', $body$
DECLARE
    retention CONSTANT interval := '0 seconds'; -- 0: for ever
    months_ahead CONSTANT int := 3;
    this_month CONSTANT timestamptz := date_trunc('month', now());
    parent CONSTANT regclass := E'"api"."user_api_key_usage"';
    place CONSTANT text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = parent);
    stem CONSTANT text := E'user_api_key_usage';
    room CONSTANT text := 'WITH (fillfactor = 80)';
    noted CONSTANT regclass := to_regclass(E'"api"."apikeyd_ledger"');
    runs bigint;
    rest regclass;     -- the partition of what no other one takes
    low timestamptz;   -- of the rows in it
    high timestamptz;
    name text;
    done text[];
    p record;
BEGIN
    IF retention = '0' OR (SELECT relkind FROM pg_class WHERE oid = parent) <> 'p' THEN
        RETURN NEXT format('nothing is done: %s was deployed without usage.retention; deploy its schema again',
            parent);
        RETURN;
    END IF;
    FOR attempt IN 1 .. 30 LOOP
        BEGIN
            done := '{}';
            -- One at a time; it keeps no reader and no writer away.
            EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
            rest := (SELECT partdefid FROM pg_partitioned_table WHERE partrelid = parent AND partdefid <> 0);
            IF rest IS NULL THEN
                name := format('%s.%I', place, stem || '_default');
                EXECUTE format('CREATE TABLE %s PARTITION OF %s DEFAULT %s', name, parent, room);
                rest := name::regclass;
                done := done || format('made %s', name);
            END IF;

            -- Nobody made partitions for a while: what came meanwhile becomes one, without being moved.
            FOR pass IN 1 .. 2 LOOP
                EXECUTE format('SELECT min(bucket), max(bucket) FROM %s', rest) INTO low, high;
                EXIT WHEN low IS NULL;
                EXECUTE format('LOCK TABLE ONLY %s, %s IN ACCESS EXCLUSIVE MODE', parent, rest);
                EXECUTE format('SELECT date_trunc(''month'', min(bucket)), '
                    'date_trunc(''month'', max(bucket)) + interval ''1 month'' FROM %s', rest) INTO low, high;
                IF high <= this_month + (months_ahead + 1) * interval '1 month' AND NOT EXISTS (
                    SELECT
                    FROM pg_inherits
                    JOIN pg_class ON oid = inhrelid
                    CROSS JOIN pg_get_expr(relpartbound, oid) AS bound
                    WHERE inhparent = parent
                        AND substring(bound FROM 'TO [(]''([^'']+)''[)]')::timestamptz > low
                        AND coalesce(substring(bound FROM 'FROM [(]''([^'']+)''[)]')::timestamptz, '-infinity') < high
                ) THEN
                    name := stem || to_char(low, '"_"YYYY"_"MM');
                    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, rest);
                    EXECUTE format('ALTER TABLE %s RENAME TO %I', rest, name);
                    EXECUTE format('CREATE TABLE %s.%I PARTITION OF %s DEFAULT %s',
                        place, stem || '_default', parent, room);
                    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                        parent, rest, low, high);
                    done := done || format('made %s of what was in %s.%I', rest, place, stem || '_default');
                    EXIT;
                ELSIF pass = 1 THEN
                    -- Late ones, of months whose partitions are gone.
                    EXECUTE format('DELETE FROM %s WHERE bucket < %L', rest,
                        date_trunc('month', now() - retention));
                ELSE
                    done := done || format('rows from %s to %s stay in %s: they are beside the months of other '
                        'partitions, or later than those made ahead', low, high, rest);
                    EXIT;
                END IF;
            END LOOP;

            FOR i IN 0 .. months_ahead LOOP
                low := this_month + i * interval '1 month';
                high := low + interval '1 month';
                CONTINUE WHEN EXISTS (
                    SELECT
                    FROM pg_inherits
                    JOIN pg_class ON oid = inhrelid
                    CROSS JOIN pg_get_expr(relpartbound, oid) AS bound
                    WHERE inhparent = parent
                        AND substring(bound FROM 'TO [(]''([^'']+)''[)]')::timestamptz > low
                        AND coalesce(substring(bound FROM 'FROM [(]''([^'']+)''[)]')::timestamptz, '-infinity') < high
                );
                name := format('%s.%I', place, stem || to_char(low, '"_"YYYY"_"MM'));
                BEGIN
                    EXECUTE format('CREATE TABLE %s PARTITION OF %s FOR VALUES FROM (%L) TO (%L) %s',
                        name, parent, low, high, room);
                    done := done || format('made %s', name);
                EXCEPTION
                    WHEN check_violation THEN
                        done := done || format('%s is not made: %s has rows of that month', name, rest);
                END;
            END LOOP;

            FOR p IN
                SELECT oid::regclass::text AS name -- which it loses
                FROM pg_inherits
                JOIN pg_class ON oid = inhrelid
                CROSS JOIN pg_get_expr(relpartbound, oid) AS bound
                WHERE inhparent = parent
                    AND substring(bound FROM 'TO [(]''([^'']+)''[)]')::timestamptz <= now() - retention
            LOOP
                EXECUTE format('DROP TABLE %s', p.name);
                done := done || format('dropped %s', p.name);
            END LOOP;
            EXIT;
        EXCEPTION
            WHEN lock_not_available THEN
                IF attempt = 30 THEN
                    RAISE EXCEPTION '% or a partition of it stays locked', parent
                        USING ERRCODE = 'lock_not_available',
                            HINT = 'Let other transactions end (see pg_stat_activity), and repeat this.';
                END IF;
                PERFORM pg_sleep(least(attempt * 0.1, 1));
        END;
    END LOOP;
    IF has_table_privilege(noted, 'DELETE') THEN
        EXECUTE format('DELETE FROM %s WHERE updated_at < %L', noted, date_trunc('month', now() - retention));
        GET DIAGNOSTICS runs = ROW_COUNT;
        IF runs > 0 THEN
            done := done || format('deleted from %s: %s rows, of runs before usage.retention', noted, runs);
        END IF;
    END IF;
    RETURN QUERY SELECT unnest(done);
END
$body$),
            (E'"api"."user_api_key_usage_days"',
                'TABLE (day date, api_key_id pg_catalog.uuid, key_name text, user_id pg_catalog.uuid, '
                    'allow bigint, inactive bigint, expired bigint, early bigint)',
                'sql STABLE', $body$
    SELECT
        d.day, d.api_key_id, k."key_name"::pg_catalog.text, k."user_id"::pg_catalog.uuid,
        d.allow, d.inactive, d.expired, d.early
    FROM (
        SELECT
            (u.bucket AT TIME ZONE 'UTC')::pg_catalog.date AS day, u.api_key_id,
            coalesce(pg_catalog.sum(u.uses) FILTER (WHERE u.verdict OPERATOR(pg_catalog.=) 'allow'), 0)::pg_catalog.int8
                AS allow,
            coalesce(pg_catalog.sum(u.uses) FILTER (WHERE u.verdict OPERATOR(pg_catalog.=) 'inactive'), 0)::pg_catalog.int8
                AS inactive,
            coalesce(pg_catalog.sum(u.uses) FILTER (WHERE u.verdict OPERATOR(pg_catalog.=) 'expired'), 0)::pg_catalog.int8
                AS expired,
            coalesce(pg_catalog.sum(u.uses) FILTER (WHERE u.verdict OPERATOR(pg_catalog.=) 'early'), 0)::pg_catalog.int8
                AS early
        FROM "api"."user_api_key_usage" AS u
        GROUP BY 1, 2
    ) AS d
    LEFT JOIN "api"."user_api_key" AS k ON k."api_key_id" OPERATOR(pg_catalog.=) d.api_key_id
$body$)
        ) AS v (name, result, kind, body)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_proc WHERE oid = to_regprocedure(f.name || '()') AND prosrc = f.body) THEN
            EXECUTE format('CREATE OR REPLACE FUNCTION %s() RETURNS %s LANGUAGE %s AS %L',
                f.name, f.result, f.kind, f.body);
        END IF;
    END LOOP;
    IF has_function_privilege('public', E'"api"."user_api_key_usage_maintain"' || '()', 'EXECUTE') THEN
        REVOKE ALL ON FUNCTION "api"."user_api_key_usage_maintain"() FROM PUBLIC;
    END IF;
    IF to_regclass(E'"api"."user_api_key_usage_daily"') IS NULL THEN
        CREATE VIEW "api"."user_api_key_usage_daily" AS SELECT * FROM "api"."user_api_key_usage_days"();
        COMMENT ON VIEW "api"."user_api_key_usage_daily" IS 'Uses of each key by day (UTC), with its name and user. Made by apikeyd.';
    END IF;

    PERFORM "api"."user_api_key_usage_maintain"();
    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

-- What becomes of the counts of a key that is deleted: with a foreign key they go too. It is made on an
-- empty table only, since the table of keys is locked meanwhile.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    patience CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
    wanted CONSTANT pg_catalog.bool := false;
    made pg_catalog.bool;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR attempt IN 1 .. 30 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', true);
            made := EXISTS (
                SELECT FROM pg_constraint
                WHERE conrelid = to_regclass(E'"api"."user_api_key_usage"') AND contype = 'f'
                    AND (conname = 'apikeyd_key' OR confrelid = to_regclass(E'"api"."user_api_key"') AND confdeltype = 'c')
            );
            IF wanted AND NOT made AND EXISTS (SELECT FROM "api"."user_api_key_usage") THEN
                RAISE WARNING '% holds counts and gets no foreign key: apikeyctl schema check says how to make it',
                    E'"api"."user_api_key_usage"';
            ELSIF wanted AND NOT made THEN
                ALTER TABLE "api"."user_api_key_usage" ADD CONSTRAINT apikeyd_key
                    FOREIGN KEY (api_key_id) REFERENCES "api"."user_api_key" ("api_key_id") ON DELETE CASCADE;
            ELSIF made AND NOT wanted THEN
                ALTER TABLE "api"."user_api_key_usage" DROP CONSTRAINT IF EXISTS apikeyd_key;
            END IF;
            EXIT;
        EXCEPTION
            WHEN invalid_foreign_key THEN
                RAISE EXCEPTION '% has no unique index on %, so no foreign key can lead there', E'"api"."user_api_key"', E'api_key_id'
                    USING HINT = 'Make one, or set usage.deleted_keys = keep.';
            WHEN lock_not_available THEN
                IF attempt = 30 THEN
                    RAISE EXCEPTION '% stays locked', E'"api"."user_api_key"' USING ERRCODE = 'lock_not_available',
                        HINT = 'Let other transactions end (see pg_stat_activity), and repeat this.';
                END IF;
                PERFORM pg_sleep(least(attempt * 0.1, 1));
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', patience, true);
    PERFORM set_config('search_path', path, true);
END
$apikeyd$;
-- The rights of the daemon's role on these: it adds counts, and deletes none.
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    role CONSTANT pg_catalog.text := E'apikeyd';
    f pg_catalog.record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR f IN
        SELECT oid::regclass AS name, relnamespace::regnamespace AS place
        FROM pg_class
        WHERE oid IN (to_regclass(E'"api"."user_api_key_usage"'), to_regclass(E'"api"."apikeyd_ledger"'))
    LOOP
        IF NOT has_schema_privilege(role, f.place, 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', f.place, role);
        END IF;
        IF NOT (has_table_privilege(role, f.name, 'SELECT') AND has_table_privilege(role, f.name, 'INSERT')
                AND has_table_privilege(role, f.name, 'UPDATE')) THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %s TO %I', f.name, role);
        END IF;
    END LOOP;
    IF NOT has_function_privilege(role, E'"api"."user_api_key_usage_maintain"' || '()', 'EXECUTE') THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s() TO %I', E'"api"."user_api_key_usage_maintain"', role);
    END IF;
    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

COMMIT;
