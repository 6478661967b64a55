-- Do the triggers announce every change of a key? See schema_inspection.h.
-- $1 is the schema, $2 the table, $3 the columns with keys and $4 those that make a verdict, as arrays.
-- $5, $6 and $7 are the SHA-256 of the bodies of notify_key_change(), note_unannounced_change() and
-- lacks_columns(), in hex.
WITH RECURSIVE
-- PostgreSQL then prints names without quotes where they need none, whatever the database's setting is.
printing (quoted) AS MATERIALIZED (
    SELECT pg_catalog.set_config('quote_all_identifiers', 'off', true)
),
-- The table, its partitions and its children.
tree (oid) AS (
    SELECT c.oid
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.relname OPERATOR(pg_catalog.=) $2 AND n.nspname OPERATOR(pg_catalog.=) $1
    UNION
    SELECT i.inhrelid
    FROM pg_catalog.pg_inherits AS i
    JOIN tree ON i.inhparent OPERATOR(pg_catalog.=) tree.oid
),
-- PostgreSQL makes a partition's triggers from its table's, and keeps them so but for their state.
ancestor (oid, parent) AS (
    SELECT t.oid, t.oid
    FROM tree
    JOIN pg_catalog.pg_trigger AS t ON t.tgrelid OPERATOR(pg_catalog.=) tree.oid
    UNION
    SELECT a.oid, t.tgparentid
    FROM ancestor AS a
    JOIN pg_catalog.pg_trigger AS t ON t.oid OPERATOR(pg_catalog.=) a.parent
    WHERE t.tgparentid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
),
-- The configuration's columns with keys, and how a backslash in a literal is printed.
expected (names, backslash) AS (
    SELECT
        pg_catalog.array_to_string($3::pg_catalog.text[], ', '),
        pg_catalog.repeat(
            pg_catalog.chr(92),
            2 OPERATOR(pg_catalog.-)
            pg_catalog.current_setting('standard_conforming_strings')::pg_catalog.bool::pg_catalog.int4
        )
),
-- Functions of the condition, which everybody may call: else a change of a key fails.
callable (oid, name, arguments, language, body) AS (
    SELECT p.oid, p.proname, pg_catalog.oidvectortypes(p.proargtypes), l.lanname, p.prosrc
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
    JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang
    WHERE n.nspname OPERATOR(pg_catalog.=) 'apikeyd'::pg_catalog.text
        AND p.provolatile OPERATOR(pg_catalog.=) 'i'
        AND NOT p.prosecdef
        AND p.proconfig IS NULL
        AND pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE')
),
lacking (oid) AS (
    SELECT oid
    FROM callable
    WHERE name OPERATOR(pg_catalog.=) 'lacks_columns'::pg_catalog.text
        AND arguments OPERATOR(pg_catalog.=) 'regclass, text[]'
        AND language OPERATOR(pg_catalog.=) 'plpgsql'::pg_catalog.text
        AND pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(body, 'UTF8')), 'hex')
        OPERATOR(pg_catalog.=) $7
),
-- A function that compares two versions of a row compares the columns that its body names: the body
-- is what the schema makes of these. Those of another configuration count if they compare all that
-- this one needs. `condition` is what the trigger's condition calls, as PostgreSQL prints it; a literal
-- is printed without E, and chr(92) is the backslash.
comparison (oid, columns, condition) AS (
    SELECT
        c.oid,
        m.columns,
        pg_catalog.concat(
            '''::regclass, ARRAY[', m.literals, ']) OR ', c.name,
            '(old.*, new.*))) EXECUTE FUNCTION '
        )
    FROM expected
    CROSS JOIN callable AS c
    CROSS JOIN LATERAL (
        SELECT
            pg_catalog.array_agg(q.name ORDER BY q.n),
            pg_catalog.string_agg(
                pg_catalog.concat(
                    '''',
                    pg_catalog.replace(
                        pg_catalog.replace(q.name, '''', ''''''), pg_catalog.chr(92), backslash
                    ),
                    '''::text'
                ),
                ', ' ORDER BY q.n
            ),
            pg_catalog.concat(
                'SELECT ROW(', pg_catalog.string_agg(pg_catalog.concat('$1.', q.quoted), ', ' ORDER BY q.n),
                ')::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(',
                pg_catalog.string_agg(pg_catalog.concat('$2.', q.quoted), ', ' ORDER BY q.n),
                ')::pg_catalog.record'
            )
        FROM (
            SELECT
                r.found[1],
                pg_catalog.replace(
                    pg_catalog.substr(
                        r.found[1], 2, pg_catalog.length(r.found[1]) OPERATOR(pg_catalog.-) 2
                    ),
                    '""', '"'
                ),
                r.n
            FROM pg_catalog.regexp_matches(c.body, '[$]1[.]("([^"]|"")+")', 'g')
                WITH ORDINALITY AS r (found, n)
        ) AS q (quoted, name, n)
    ) AS m (columns, literals, body)
    WHERE c.arguments OPERATOR(pg_catalog.=) 'anyelement, anyelement'
        AND c.language OPERATOR(pg_catalog.=) 'sql'::pg_catalog.text
        AND c.body OPERATOR(pg_catalog.=) m.body
        AND m.columns OPERATOR(pg_catalog.@>) $4::pg_catalog.text[]
),
-- Triggers that call a function of that name, and whether it and they are as they should be.
-- tgenabled: A fires in a replica's session too. tgtype: for each row is 1, BEFORE 2, INSERT 4,
-- DELETE 8, UPDATE 16, TRUNCATE 32, INSTEAD OF 64 (PostgreSQL manual, pg_trigger; pg_trigger.h).
-- tgargs ends each argument with a zero byte.
called (relation, name, events, enabled, function_right, columns_right, trigger_right) AS (
    SELECT
        t.tgrelid,
        t.tgname,
        r.tgtype::pg_catalog.int4,
        t.tgenabled OPERATOR(pg_catalog.=) 'A',
        pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(p.prosrc, 'UTF8')), 'hex')
        OPERATOR(pg_catalog.=) $5
        AND NOT p.prosecdef
        AND l.lanname OPERATOR(pg_catalog.=) 'plpgsql'::pg_catalog.text
        AND p.proconfig
        OPERATOR(pg_catalog.=) ARRAY['search_path=pg_catalog, pg_temp'::pg_catalog.text],
        -- Each of the configuration's columns, perhaps among others: an announcement too many costs a
        -- lookup.
        NOT EXISTS (
            SELECT
            FROM pg_catalog.unnest($3::pg_catalog.text[]) AS k (name)
            WHERE pg_catalog."position"(
                pg_catalog.decode('00', 'hex') OPERATOR(pg_catalog.||) r.tgargs,
                pg_catalog.decode('00', 'hex')
                OPERATOR(pg_catalog.||) pg_catalog.convert_to(k.name, pg_catalog.getdatabaseencoding())
                OPERATOR(pg_catalog.||) pg_catalog.decode('00', 'hex')
            ) OPERATOR(pg_catalog.=) 0
        ),
        r.tgattr::pg_catalog.text OPERATOR(pg_catalog.=) ''
        AND (r.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 66) OPERATOR(pg_catalog.=) 0
        -- TRUNCATE for each statement, all others for each row
        AND (r.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 33) OPERATOR(pg_catalog.=) ANY ('{1,32}')
        AND (
            r.tgqual IS NULL
            OR (r.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 60) OPERATOR(pg_catalog.=) 16
            AND EXISTS (
                SELECT
                FROM comparison AS f
                -- With or without the schema of the functions, as the session's search_path has it.
                WHERE pg_catalog.starts_with(
                    pg_catalog.replace(
                        pg_catalog.substr(printed.def, pg_catalog.strpos(printed.def, ' FOR EACH ROW WHEN ')),
                        'apikeyd.', ''
                    ),
                    pg_catalog.replace(
                        pg_catalog.concat(
                            ' FOR EACH ROW WHEN ((lacks_columns(''',
                            pg_catalog.replace(
                                pg_catalog.replace(
                                    r.tgrelid::pg_catalog.regclass::pg_catalog.text, '''', ''''''
                                ),
                                pg_catalog.chr(92), backslash
                            ),
                            f.condition
                        ),
                        'apikeyd.', ''
                    )
                )
                -- And these are the functions that it calls. PostgreSQL's own are in no dependency
                -- (PostgreSQL manual, pg_depend).
                AND NOT EXISTS (
                    SELECT
                    FROM pg_catalog.pg_depend AS d
                    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_trigger'::pg_catalog.regclass
                        AND d.objid OPERATOR(pg_catalog.=) r.oid
                        AND (
                            d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass
                            OR d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                            AND d.refobjid OPERATOR(pg_catalog.<>) r.tgfoid
                            AND d.refobjid OPERATOR(pg_catalog.<>) f.oid
                            AND NOT EXISTS (
                                SELECT FROM lacking AS k WHERE k.oid OPERATOR(pg_catalog.=) d.refobjid
                            )
                        )
                )
                -- All that it compares is there: else each change of a row is one of all keys.
                AND NOT EXISTS (
                    SELECT
                    FROM pg_catalog.unnest(f.columns) AS k (name)
                    WHERE NOT EXISTS (
                        SELECT
                        FROM pg_catalog.pg_attribute AS t_a
                        WHERE t_a.attrelid OPERATOR(pg_catalog.=) r.tgrelid
                            AND t_a.attname OPERATOR(pg_catalog.=) k.name AND NOT t_a.attisdropped
                    )
                )
            )
        )
    FROM expected
    CROSS JOIN printing
    CROSS JOIN ancestor AS a
    JOIN pg_catalog.pg_trigger AS t ON t.oid OPERATOR(pg_catalog.=) a.oid
    JOIN pg_catalog.pg_trigger AS r
        ON r.oid OPERATOR(pg_catalog.=) a.parent
        AND r.tgparentid OPERATOR(pg_catalog.=) 0::pg_catalog.oid
    JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) r.tgfoid
    JOIN pg_catalog.pg_namespace AS pn ON pn.oid OPERATOR(pg_catalog.=) p.pronamespace
    JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN printing.quoted OPERATOR(pg_catalog.=) 'off'
                THEN pg_catalog.pg_get_triggerdef(r.oid) END
    ) AS printed (def)
    WHERE p.proname OPERATOR(pg_catalog.=) 'notify_key_change'::pg_catalog.text
        AND pn.nspname OPERATOR(pg_catalog.=) 'apikeyd'::pg_catalog.text
),
-- What each relation's right triggers leave out.
covered (oid, kind, is_partition, missing) AS (
    SELECT
        c.oid,
        c.relkind,
        c.relispartition,
        60 OPERATOR(pg_catalog.-) (coalesce(a.announced, 0) OPERATOR(pg_catalog.&) 60)
    FROM tree
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) tree.oid
    LEFT JOIN (
        SELECT relation, pg_catalog.bit_or(events)
        FROM called
        WHERE enabled AND function_right AND columns_right AND trigger_right
        GROUP BY relation
    ) AS a (relation, announced) ON a.relation OPERATOR(pg_catalog.=) c.oid
),
-- A TRUNCATE of a partition is seen by the next heartbeat, with or without a trigger.
relation (oid, kind, truncated_unseen, missing) AS (
    SELECT
        oid, kind, is_partition AND missing OPERATOR(pg_catalog.=) 32,
        CASE WHEN kind OPERATOR(pg_catalog.=) 'r'
            AND NOT (is_partition AND missing OPERATOR(pg_catalog.=) 32) THEN missing ELSE 0 END
    FROM covered
),
-- What stands in the way of those that leave something out.
faulty (relation, name, events, enabled, columns_right, trigger_right) AS (
    SELECT c.relation, c.name, c.events, c.enabled, c.columns_right, c.trigger_right
    FROM called AS c
    JOIN relation AS r ON r.oid OPERATOR(pg_catalog.=) c.relation
    WHERE r.missing OPERATOR(pg_catalog.>) 0
),
problem (place, says) AS (
    SELECT 1, 'the table is not there; make it, or name the table of keys in postgres.table'
    WHERE NOT EXISTS (SELECT FROM tree)
    UNION ALL
    SELECT 2,
        pg_catalog.concat(
            oid::pg_catalog.regclass, ' is not a plain table; name the table of keys in postgres.table'
        )
    FROM relation
    WHERE kind OPERATOR(pg_catalog.<>) ALL ('{r,p}'::pg_catalog."char"[])
    UNION ALL
    -- Each UPDATE of the table announces a change of every key then.
    SELECT 3,
        pg_catalog.concat(
            'the table has no column ', pg_catalog.quote_ident(name),
            '; name its columns in the section [postgres], and deploy the schema for them'
        )
    FROM pg_catalog.unnest($4::pg_catalog.text[]) AS c (name)
    WHERE EXISTS (SELECT FROM tree)
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_attribute AS a
            JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
            JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
            WHERE c.relname OPERATOR(pg_catalog.=) $2 AND n.nspname OPERATOR(pg_catalog.=) $1
                AND a.attname OPERATOR(pg_catalog.=) name AND NOT a.attisdropped
        )
    UNION ALL
    SELECT 4, 'function apikeyd.notify_key_change() is of another version; deploy the schema again'
    WHERE EXISTS (SELECT FROM called WHERE NOT function_right)
    UNION ALL
    SELECT 5,
        'table apikeyd.unannounced_change, or function apikeyd.note_unannounced_change(), is missing, '
        'or not as it should be; deploy the schema again'
    WHERE EXISTS (SELECT FROM called)
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_class AS u
            JOIN pg_catalog.pg_namespace AS un ON un.oid OPERATOR(pg_catalog.=) u.relnamespace
            JOIN pg_catalog.pg_proc AS p ON p.pronamespace OPERATOR(pg_catalog.=) un.oid
            WHERE u.relname OPERATOR(pg_catalog.=) 'unannounced_change'::pg_catalog.text
                AND un.nspname OPERATOR(pg_catalog.=) 'apikeyd'::pg_catalog.text
                AND p.proname OPERATOR(pg_catalog.=) 'note_unannounced_change'::pg_catalog.text
                AND pg_catalog.encode(
                    pg_catalog.sha256(pg_catalog.convert_to(p.prosrc, 'UTF8')), 'hex'
                ) OPERATOR(pg_catalog.=) $6
                AND p.prosecdef
                AND p.proconfig OPERATOR(pg_catalog.=)
                ARRAY['search_path=pg_catalog, pg_temp'::pg_catalog.text]
                AND p.proowner OPERATOR(pg_catalog.=) u.relowner
                AND pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE')
                AND u.relkind OPERATOR(pg_catalog.=) 'r'
                -- Defaults run with the function's rights.
                AND NOT EXISTS (
                    SELECT
                    FROM pg_catalog.pg_attrdef AS a
                    JOIN pg_catalog.pg_depend AS d ON d.objid OPERATOR(pg_catalog.=) a.oid
                    WHERE a.adrelid OPERATOR(pg_catalog.=) u.oid
                        AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                        AND d.refclassid OPERATOR(pg_catalog.=)
                        ANY ('{pg_catalog.pg_operator,pg_catalog.pg_proc}'::pg_catalog.regclass[])
                )
                AND NOT u.relrowsecurity AND NOT u.relhastriggers AND NOT u.relhasrules
                AND pg_catalog.has_schema_privilege('public', un.oid, 'USAGE')
                AND pg_catalog.has_table_privilege(u.oid, 'SELECT')
        )
    UNION ALL
    SELECT 6,
        pg_catalog.concat(
            'trigger ', pg_catalog.quote_ident(name), ' on ', relation::pg_catalog.regclass,
            ' does not announce the columns of the configuration (', names,
            '); deploy the schema for this configuration'
        )
    FROM expected
    CROSS JOIN faulty
    WHERE NOT columns_right
    UNION ALL
    SELECT 7,
        pg_catalog.concat(
            'trigger ', pg_catalog.quote_ident(name), ' on ', relation::pg_catalog.regclass,
            ' is not ENABLE ALWAYS; ALTER TABLE ', relation::pg_catalog.regclass,
            ' ENABLE ALWAYS TRIGGER ', pg_catalog.quote_ident(name)
        )
    FROM faulty
    WHERE NOT enabled
    UNION ALL
    SELECT 8,
        pg_catalog.concat(
            'the condition of trigger ', pg_catalog.quote_ident(name), ' on ',
            relation::pg_catalog.regclass, ', or a function that it calls, is of another version or '
            'configuration, or not everybody may call it; deploy the schema again'
        )
    FROM faulty
    WHERE NOT trigger_right AND (events OPERATOR(pg_catalog.&) 60) OPERATOR(pg_catalog.=) 16
    UNION ALL
    SELECT 9,
        pg_catalog.concat(
            'no trigger on ', oid::pg_catalog.regclass, ' that is as it should be announces ',
            pg_catalog.concat_ws(
                ', ',
                CASE WHEN (missing OPERATOR(pg_catalog.&) 4) OPERATOR(pg_catalog.>) 0
                    THEN 'INSERT' END,
                CASE WHEN (missing OPERATOR(pg_catalog.&) 16) OPERATOR(pg_catalog.>) 0
                    THEN 'UPDATE' END,
                CASE WHEN (missing OPERATOR(pg_catalog.&) 8) OPERATOR(pg_catalog.>) 0
                    THEN 'DELETE' END,
                CASE WHEN (missing OPERATOR(pg_catalog.&) 32) OPERATOR(pg_catalog.>) 0
                    THEN 'TRUNCATE' END
            ),
            ' for key column ', names, '; deploy the schema'
        )
    FROM expected
    CROSS JOIN relation
    WHERE missing OPERATOR(pg_catalog.>) 0
)
SELECT
    coalesce((SELECT says FROM problem ORDER BY place, says LIMIT 1), ''),
    -- Who is changing the table now: such a statement may have begun, and a transaction written, with
    -- other triggers. Each holds its lock until it ends.
    coalesce((
        SELECT pg_catalog.string_agg(DISTINCT w.virtualtransaction, ',')
        FROM tree
        JOIN pg_catalog.pg_locks AS w ON w.relation OPERATOR(pg_catalog.=) tree.oid
        JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) w.database
        WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
            AND w.granted
            AND w.mode OPERATOR(pg_catalog.<>)
            ALL ('{AccessShareLock,RowShareLock,ShareLock,ShareUpdateExclusiveLock}'::pg_catalog.text[])
    ), ''),
    -- Whether a partition has no trigger for TRUNCATE.
    EXISTS (SELECT FROM relation WHERE kind OPERATOR(pg_catalog.=) 'r' AND truncated_unseen)
