-- What does the daemon need besides the triggers, and what stands in its way? See schema_check.h.
-- $1 is the schema, $2 the table, $3 the columns with keys, $4 the columns that are read and $5 those
-- that are written, as arrays; $6 the daemon's role, or '' for the session's; $7 columns and $8 the types
-- that each may have, as arrays.
WITH RECURSIVE
keys (oid, kind, owner, schema, secured, forced, options) AS (
    SELECT
        c.oid, c.relkind, c.relowner, n.oid, c.relrowsecurity, c.relforcerowsecurity,
        coalesce(pg_catalog.array_to_string(c.reloptions, ','), '')
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.relname OPERATOR(pg_catalog.=) $2 AND n.nspname OPERATOR(pg_catalog.=) $1
        AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f}'::pg_catalog."char"[])
),
wanted (name) AS (
    -- NULLIF would look for an operator by its name.
    SELECT CASE WHEN $6 OPERATOR(pg_catalog.<>) ''::pg_catalog.text THEN $6
        ELSE current_user::pg_catalog.text END
),
role (oid, name, above) AS (
    SELECT r.oid, r.rolname, r.rolsuper OR r.rolbypassrls
    FROM pg_catalog.pg_roles AS r
    JOIN wanted AS w ON w.name OPERATOR(pg_catalog.=) r.rolname
),
columns (name, verb, number) AS (
    SELECT c.name, c.verb, a.attnum
    FROM (
        SELECT r, 'SELECT' FROM pg_catalog.unnest($4::pg_catalog.text[]) AS r
        UNION ALL
        SELECT w, 'UPDATE' FROM pg_catalog.unnest($5::pg_catalog.text[]) AS w
    ) AS c (name, verb)
    LEFT JOIN (keys JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) keys.oid)
        ON a.attname OPERATOR(pg_catalog.=) c.name AND NOT a.attisdropped
),
-- A domain is of the type that it was made from.
typed (name, types, type) AS (
    SELECT t.name, t.types, a.atttypid
    FROM ROWS FROM (pg_catalog.unnest($7::pg_catalog.text[]), pg_catalog.unnest($8::pg_catalog.text[]))
        AS t (name, types)
    JOIN (keys JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) keys.oid)
        ON a.attname OPERATOR(pg_catalog.=) t.name AND NOT a.attisdropped
    UNION ALL
    SELECT t.name, t.types, y.typbasetype
    FROM typed AS t
    JOIN pg_catalog.pg_type AS y ON y.oid OPERATOR(pg_catalog.=) t.type
    WHERE y.typtype OPERATOR(pg_catalog.=) 'd'
),
-- Key columns, likewise.
keyed (name, type) AS (
    SELECT k, a.atttypid
    FROM pg_catalog.unnest($3::pg_catalog.text[]) AS k
    JOIN (keys JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) keys.oid)
        ON a.attname OPERATOR(pg_catalog.=) k AND NOT a.attisdropped
    UNION ALL
    SELECT k.name, y.typbasetype
    FROM keyed AS k
    JOIN pg_catalog.pg_type AS y ON y.oid OPERATOR(pg_catalog.=) k.type
    WHERE y.typtype OPERATOR(pg_catalog.=) 'd'
),
-- Types that PostgreSQL takes for text, and whose indexes serve no comparison with text.
unindexed (name, type) AS (
    SELECT k.name, y.typname
    FROM keyed AS k
    JOIN pg_catalog.pg_type AS y ON y.oid OPERATOR(pg_catalog.=) k.type
    WHERE y.typtype OPERATOR(pg_catalog.<>) 'd'
        AND y.oid OPERATOR(pg_catalog.<>)
        ALL ('{pg_catalog.text,pg_catalog.varchar,pg_catalog.name}'::pg_catalog.regtype[])
),
forbidden (name, verb) AS (
    SELECT c.name, c.verb
    FROM columns AS c
    CROSS JOIN keys
    CROSS JOIN role
    WHERE c.number IS NOT NULL
        AND NOT pg_catalog.has_column_privilege(role.oid, keys.oid, c.number, c.verb)
),
-- Whole indexes whose first column is a key column, and that a lookup can use.
indexes (name, column_name, is_unique, is_valid) AS (
    SELECT x.indexrelid::pg_catalog.regclass, k, x.indisunique, x.indisvalid
    FROM keys
    JOIN pg_catalog.pg_index AS x ON x.indrelid OPERATOR(pg_catalog.=) keys.oid
    JOIN pg_catalog.pg_class AS xc ON xc.oid OPERATOR(pg_catalog.=) x.indexrelid
    JOIN pg_catalog.pg_am AS xm ON xm.oid OPERATOR(pg_catalog.=) xc.relam
    JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid OPERATOR(pg_catalog.=) keys.oid AND a.attnum OPERATOR(pg_catalog.=) x.indkey[0]
    JOIN pg_catalog.unnest($3::pg_catalog.text[]) AS k ON k OPERATOR(pg_catalog.=) a.attname
    WHERE x.indpred IS NULL
        AND EXISTS (
            SELECT
            FROM pg_catalog.pg_opclass AS o
            JOIN pg_catalog.pg_amop AS s ON s.amopfamily OPERATOR(pg_catalog.=) o.opcfamily
            WHERE o.oid OPERATOR(pg_catalog.=) x.indclass[0]
                AND s.amopopr OPERATOR(pg_catalog.=)
                'pg_catalog.=(pg_catalog.text,pg_catalog.text)'::pg_catalog.regoperator
        )
        AND xm.amname OPERATOR(pg_catalog.=) ANY ('{btree,hash}'::pg_catalog.name[])
        AND x.indcollation[0] OPERATOR(pg_catalog.=) a.attcollation
),
owned (name, owner) AS (
    SELECT 'schema apikeyd', n.nspowner
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname OPERATOR(pg_catalog.=) 'apikeyd'::pg_catalog.text
    UNION ALL
    SELECT pg_catalog.concat('table apikeyd.', c.relname), c.relowner
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE n.nspname OPERATOR(pg_catalog.=) 'apikeyd'::pg_catalog.text
        AND c.relname OPERATOR(pg_catalog.=) 'unannounced_change'::pg_catalog.text
    UNION ALL
    SELECT pg_catalog.concat('function ', p.oid::pg_catalog.regprocedure), p.proowner
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
    WHERE n.nspname OPERATOR(pg_catalog.=) 'apikeyd'::pg_catalog.text
),
found (place, state, says, action) AS (
    SELECT
        1,
        CASE WHEN kind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog."char"[])
            THEN 'ok' ELSE 'in the way' END,
        CASE WHEN kind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog."char"[])
            THEN pg_catalog.concat('table ', oid::pg_catalog.regclass)
            ELSE pg_catalog.concat(oid::pg_catalog.regclass, ' is not a table') END,
        CASE WHEN kind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog."char"[])
            THEN '' ELSE 'name the table of keys in postgres.table' END
    FROM keys
    UNION ALL
    SELECT 1, 'missing', pg_catalog.concat('table ', $1, '.', $2),
        'make it, or name the table of keys in postgres.table'
    WHERE NOT EXISTS (SELECT FROM keys)
    UNION ALL
    SELECT DISTINCT 2, 'missing', pg_catalog.concat('column ', pg_catalog.quote_ident(name)),
        'add it, or name the columns in the section [postgres]'
    FROM columns
    WHERE number IS NULL AND EXISTS (SELECT FROM keys)
    UNION ALL
    -- The daemon reads all columns but the one that links keys.
    SELECT 2, 'missing', pg_catalog.concat('column ', pg_catalog.quote_ident(t)),
        'apikeyctl schema sql --part rotation'
    FROM pg_catalog.unnest($7::pg_catalog.text[]) AS t
    CROSS JOIN keys
    WHERE t OPERATOR(pg_catalog.<>) ALL (ARRAY(SELECT name FROM columns))
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid OPERATOR(pg_catalog.=) keys.oid AND a.attname OPERATOR(pg_catalog.=) t
                AND NOT a.attisdropped
        )
    UNION ALL
    SELECT DISTINCT 2, 'in the way',
        pg_catalog.concat(
            'column ', pg_catalog.quote_ident(t.name), ' is of type ', y.typname, ', not ', t.types
        ),
        'name another one, or the type of the IDs, in the section [postgres]'
    FROM typed AS t
    JOIN pg_catalog.pg_type AS y ON y.oid OPERATOR(pg_catalog.=) t.type
    WHERE y.typtype OPERATOR(pg_catalog.<>) 'd'
        AND NOT (
            y.typname OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array(t.types, ' or '))
            AND y.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
            -- Enums, and kinds of text such as citext.
            OR pg_catalog.strpos(t.types, 'enum') OPERATOR(pg_catalog.>) 0
            AND y.typnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace
            AND y.typcategory OPERATOR(pg_catalog.=) ANY ('{E,S}'::pg_catalog."char"[])
        )
    UNION ALL
    SELECT 2, 'in the way',
        pg_catalog.concat(
            'column ', pg_catalog.quote_ident(k.name), ' is of type ', y.typname, ', and keys are text'
        ),
        'name a column of type text in the section [postgres]'
    FROM keyed AS k
    JOIN pg_catalog.pg_type AS y ON y.oid OPERATOR(pg_catalog.=) k.type
    WHERE y.typtype OPERATOR(pg_catalog.<>) 'd'
        AND y.typcategory OPERATOR(pg_catalog.<>) 'S'
        AND y.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
    UNION ALL
    SELECT 3, 'missing', pg_catalog.concat('role ', name),
        'have it created: apikeyctl schema sql --part role'
    FROM wanted
    WHERE NOT EXISTS (SELECT FROM role)
    UNION ALL
    SELECT 4, 'missing', pg_catalog.concat('USAGE on schema ', $1, ' for role ', name),
        'apikeyctl schema sql --part role'
    FROM role
    CROSS JOIN keys
    WHERE NOT pg_catalog.has_schema_privilege(role.oid, keys.schema, 'USAGE')
    UNION ALL
    SELECT 5, 'missing',
        pg_catalog.concat(
            verb, ' (', pg_catalog.string_agg(pg_catalog.quote_ident(f.name), ', '), ') for role ', role.name
        ),
        'apikeyctl schema sql --part role'
    FROM forbidden AS f
    CROSS JOIN role
    GROUP BY verb, role.name
    UNION ALL
    SELECT 5, 'ok', pg_catalog.concat('rights of role ', name), ''
    FROM role
    CROSS JOIN keys
    WHERE NOT EXISTS (SELECT FROM forbidden)
        AND pg_catalog.has_schema_privilege(role.oid, keys.schema, 'USAGE')
    UNION ALL
    SELECT 6, 'in the way', pg_catalog.concat('row security hides keys from role ', role.name),
        pg_catalog.concat('ALTER ROLE ', pg_catalog.quote_ident(role.name), ' BYPASSRLS')
    FROM role
    CROSS JOIN keys
    WHERE keys.secured AND NOT role.above
        AND (keys.forced OR NOT pg_catalog.pg_has_role(role.oid, keys.owner, 'USAGE'))
    UNION ALL
    -- As each heartbeat has it, of the schema and of the table.
    SELECT 6, 'in the way',
        pg_catalog.concat(
            o.name, ' belongs to role ', pg_catalog.pg_get_userbyid(o.owner),
            ', which may not act as the owner of the table'
        ),
        'as a superuser: DROP SCHEMA apikeyd CASCADE; then apikeyctl schema sql'
    FROM keys
    CROSS JOIN owned AS o
    JOIN pg_catalog.pg_database AS d ON d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
    WHERE o.owner OPERATOR(pg_catalog.<>) d.datdba
        AND NOT pg_catalog.pg_has_role(o.owner, keys.owner, 'MEMBER')
    UNION ALL
    SELECT 7, 'ok',
        pg_catalog.concat(
            CASE WHEN is_unique THEN 'unique index ' ELSE 'index ' END, name, ' on ', column_name
        ),
        ''
    FROM indexes
    WHERE is_valid
    UNION ALL
    SELECT 7, 'advice', pg_catalog.concat('index ', name, ' on ', column_name, ' is invalid'),
        'DROP INDEX CONCURRENTLY it, then apikeyctl schema sql --part index'
    FROM indexes
    WHERE NOT is_valid
    UNION ALL
    SELECT 7, 'advice',
        pg_catalog.concat('no index on ', k, ': each lookup reads the whole table'),
        'apikeyctl schema sql --part index'
    FROM pg_catalog.unnest($3::pg_catalog.text[]) AS k
    WHERE EXISTS (SELECT FROM keys)
        AND NOT EXISTS (SELECT FROM unindexed WHERE name OPERATOR(pg_catalog.=) k)
        AND NOT EXISTS (
            SELECT FROM indexes WHERE column_name OPERATOR(pg_catalog.=) k AND is_valid
        )
    UNION ALL
    SELECT 7, 'advice',
        pg_catalog.concat(
            'no index of type ', type, ' serves lookups by column ', pg_catalog.quote_ident(name),
            ': each reads the whole table'
        ),
        pg_catalog.concat(
            'ALTER TABLE ', oid::pg_catalog.regclass, ' ALTER ', pg_catalog.quote_ident(name), ' TYPE text'
        )
    FROM unindexed
    CROSS JOIN keys
    UNION ALL
    SELECT 8, 'advice', 'no room on the pages of the table: usage is written to each index too',
        'apikeyctl schema sql --part index'
    FROM keys
    WHERE kind OPERATOR(pg_catalog.=) 'r' AND pg_catalog.strpos(options, 'fillfactor=') OPERATOR(pg_catalog.=) 0
    UNION ALL
    -- Triggers and indexes wait for these.
    SELECT DISTINCT 9, 'advice',
        pg_catalog.concat(
            'session ', s.pid, ' has changed the table in a transaction of ',
            pg_catalog.date_trunc('second', pg_catalog.now() OPERATOR(pg_catalog.-) s.xact_start)
        ),
        pg_catalog.concat('end it before you deploy: SELECT pg_terminate_backend(', s.pid, ')')
    FROM keys
    JOIN pg_catalog.pg_locks AS l ON l.relation OPERATOR(pg_catalog.=) keys.oid
    JOIN pg_catalog.pg_stat_activity AS s ON s.pid OPERATOR(pg_catalog.=) l.pid
    WHERE l.granted AND s.backend_type OPERATOR(pg_catalog.=) 'client backend'
        AND l.mode OPERATOR(pg_catalog.<>) ALL ('{AccessShareLock,RowShareLock}'::pg_catalog.text[])
        AND s.xact_start OPERATOR(pg_catalog.<)
        (pg_catalog.now() OPERATOR(pg_catalog.-) '10 seconds'::pg_catalog.interval)
)
SELECT state, says, action FROM found ORDER BY place, state, says
