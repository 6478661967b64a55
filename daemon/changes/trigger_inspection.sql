-- Do the triggers announce every change of a key? See trigger_inspection.h.
-- $1 is the schema, $2 the table, $3 the key column, $4 and $5 the SHA-256 of the bodies of the
-- trigger's function and of the one that it calls, in hex.
WITH RECURSIVE
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
named (k) AS (SELECT pg_catalog.quote_ident($3)),
-- The condition of the migrations, as PostgreSQL prints it.
expected (condition) AS (
    SELECT pg_catalog.concat(
        ' FOR EACH ROW WHEN (((old.', k, ' IS DISTINCT FROM new.', k, ')'
        ' OR (old.is_active IS DISTINCT FROM new.is_active)'
        ' OR (old.user_id IS DISTINCT FROM new.user_id)'
        ' OR (old.api_key_id IS DISTINCT FROM new.api_key_id))) EXECUTE FUNCTION ')
    FROM named
),
-- Triggers that call a function of that name, and whether it and they are as they should be.
-- tgenabled: A fires in a replica's session too. tgtype: for each row is 1, BEFORE 2, INSERT 4,
-- DELETE 8, UPDATE 16, TRUNCATE 32, INSTEAD OF 64 (PostgreSQL manual, pg_trigger; pg_trigger.h).
-- tgargs ends each argument with a zero byte. A column of type varchar is printed with a cast.
called (relation, name, events, operators_right, function_right, trigger_right) AS (
    SELECT
        t.tgrelid,
        t.tgname,
        t.tgtype::pg_catalog.int4,
        -- The condition is printed without the operators of IS DISTINCT FROM. PostgreSQL's own are in
        -- no dependency (PostgreSQL manual, pg_depend), so those that are there are others.
        NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_depend AS d
            WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_trigger'::pg_catalog.regclass
                AND d.objid OPERATOR(pg_catalog.=) t.oid
                AND (
                    d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass
                    OR d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                    AND d.refobjid OPERATOR(pg_catalog.<>) t.tgfoid
                )
        ),
        pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(p.prosrc, 'UTF8')), 'hex')
        OPERATOR(pg_catalog.=) $4
        AND NOT p.prosecdef
        AND l.lanname OPERATOR(pg_catalog.=) 'plpgsql'::pg_catalog.text
        AND p.proconfig
        OPERATOR(pg_catalog.=) ARRAY['search_path=pg_catalog, pg_temp'::pg_catalog.text],
        t.tgenabled OPERATOR(pg_catalog.=) 'A'
        AND t.tgargs OPERATOR(pg_catalog.=)
        (pg_catalog.convert_to($3, 'UTF8') OPERATOR(pg_catalog.||) '\x00'::pg_catalog.bytea)
        AND t.tgattr::pg_catalog.text OPERATOR(pg_catalog.=) ''
        AND (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 66) OPERATOR(pg_catalog.=) 0
        -- TRUNCATE for each statement, all others for each row
        AND (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 33) OPERATOR(pg_catalog.=) ANY ('{1,32}')
        AND (
            t.tgqual IS NULL
            OR (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 60) OPERATOR(pg_catalog.=) 16
            AND pg_catalog.starts_with(
                pg_catalog.substr(printed.def, pg_catalog.strpos(printed.def, ' FOR EACH ROW WHEN ')),
                condition
            )
        )
    FROM named
    CROSS JOIN expected
    CROSS JOIN tree
    JOIN pg_catalog.pg_trigger AS t ON t.tgrelid OPERATOR(pg_catalog.=) tree.oid
    JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
    JOIN pg_catalog.pg_namespace AS pn ON pn.oid OPERATOR(pg_catalog.=) p.pronamespace
    JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang
    CROSS JOIN LATERAL (
        SELECT pg_catalog.replace(
            pg_catalog.replace(
                pg_catalog.pg_get_triggerdef(t.oid),
                pg_catalog.concat('(old.', k, ')::text'), pg_catalog.concat('old.', k)
            ),
            pg_catalog.concat('(new.', k, ')::text'), pg_catalog.concat('new.', k)
        )
    ) AS printed (def)
    WHERE p.proname OPERATOR(pg_catalog.=) 'notify_key_change'::pg_catalog.text
        AND pn.nspname OPERATOR(pg_catalog.=) 'apikeyd'::pg_catalog.text
),
-- What each relation's right triggers leave out.
relation (oid, kind, missing) AS (
    SELECT
        c.oid,
        c.relkind,
        60 OPERATOR(pg_catalog.-) (
            coalesce((
                SELECT pg_catalog.bit_or(events) FROM called
                WHERE relation OPERATOR(pg_catalog.=) c.oid
                    AND operators_right AND function_right AND trigger_right
            ), 0) OPERATOR(pg_catalog.&) 60
        )
    FROM tree
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) tree.oid
),
problem (place, says) AS (
    SELECT 1, 'the table is not there'
    WHERE NOT EXISTS (SELECT FROM tree)
    UNION ALL
    SELECT 2, pg_catalog.concat(oid::pg_catalog.regclass, ' is not a plain table')
    FROM relation
    WHERE kind OPERATOR(pg_catalog.<>) ALL ('{r,p}'::pg_catalog."char"[])
    UNION ALL
    SELECT 3, 'function apikeyd.notify_key_change() is not that of the migration "announce"'
    WHERE EXISTS (SELECT FROM called WHERE NOT function_right)
    UNION ALL
    SELECT 4,
        'table apikeyd.unannounced_change, or function apikeyd.note_unannounced_change(), is missing, '
        'or not as the migration "announce" makes it'
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
                ) OPERATOR(pg_catalog.=) $5
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
    SELECT 5,
        pg_catalog.concat(
            'the condition of trigger ', name, ' on ', relation::pg_catalog.regclass,
            ' compares by an operator that is not PostgreSQL''s own'
        )
    FROM called
    WHERE NOT operators_right
    UNION ALL
    SELECT 6,
        pg_catalog.concat(
            'no trigger on ', oid::pg_catalog.regclass,
            ' that is ENABLE ALWAYS and as the migrations make it, for key column ', k,
            ', announces ',
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
            )
        )
    FROM named
    CROSS JOIN relation
    WHERE kind OPERATOR(pg_catalog.=) 'r' AND missing OPERATOR(pg_catalog.>) 0
    UNION ALL
    -- A key that becomes one of other bytes is no change for the trigger's condition then.
    SELECT 7,
        pg_catalog.concat(
            'key column ', k, ' of ', relation.oid::pg_catalog.regclass,
            ' has a collation that is not deterministic, so a change of the key may be none'
        )
    FROM named
    CROSS JOIN relation
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) relation.oid
    JOIN pg_catalog.pg_collation AS c ON c.oid OPERATOR(pg_catalog.=) a.attcollation
    WHERE a.attname OPERATOR(pg_catalog.=) $3 AND NOT c.collisdeterministic
)
-- And who is changing the table now: such a statement may have begun, and a transaction written, with
-- other triggers. Each holds its lock until it ends.
SELECT
    coalesce((SELECT says FROM problem ORDER BY place, says LIMIT 1), ''),
    coalesce((
        SELECT pg_catalog.string_agg(DISTINCT w.virtualtransaction, ',')
        FROM tree
        JOIN pg_catalog.pg_locks AS w ON w.relation OPERATOR(pg_catalog.=) tree.oid
        JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) w.database
        WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
            AND w.granted
            AND w.mode OPERATOR(pg_catalog.<>)
            ALL ('{AccessShareLock,RowShareLock,ShareLock,ShareUpdateExclusiveLock}'::pg_catalog.text[])
    ), '')
