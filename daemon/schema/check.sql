-- What does the daemon need besides the triggers, and what stands in its way? See schema_check.h.
-- $1 is the schema, $2 the table, $3 the columns with keys, $4 the columns that are read and $5 those
-- that are written, as arrays; $6 the daemon's role, or '' for the session's. $7, $8 and $9 are
-- options, their columns, and the names of the types that these may have, with commas in between.
WITH
keys (oid, kind, owner, schema, secured, forced, options) AS (
    SELECT
        c.oid, c.relkind, c.relowner, n.oid, c.relrowsecurity, c.relforcerowsecurity,
        coalesce(pg_catalog.array_to_string(c.reloptions, ','), '')
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.relname OPERATOR(pg_catalog.=) $2 AND n.nspname OPERATOR(pg_catalog.=) $1
        AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f}'::pg_catalog."char"[])
),
wanted (name) AS (SELECT coalesce(nullif($6, ''), current_user::pg_catalog.text)),
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
forbidden (name, verb) AS (
    SELECT c.name, c.verb
    FROM columns AS c
    CROSS JOIN keys
    CROSS JOIN role
    WHERE c.number IS NOT NULL
        AND NOT pg_catalog.has_column_privilege(role.oid, keys.oid, c.number, c.verb)
),
-- Columns of a type that the daemon cannot use. A domain counts as the type that it is over.
misfits (option, name, type, types) AS (
    SELECT w.option, w.name, pg_catalog.format_type(a.atttypid, a.atttypmod), w.types
    FROM keys
    CROSS JOIN ROWS FROM (
        pg_catalog.unnest($7::pg_catalog.text[]), pg_catalog.unnest($8::pg_catalog.text[]),
        pg_catalog.unnest($9::pg_catalog.text[])
    ) AS w (option, name, types)
    JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid OPERATOR(pg_catalog.=) keys.oid AND a.attname OPERATOR(pg_catalog.=) w.name
    WHERE NOT a.attisdropped
        AND NOT EXISTS (
            WITH RECURSIVE under (oid) AS (
                SELECT a.atttypid
                UNION ALL
                SELECT t.typbasetype
                FROM under
                JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) under.oid
            )
            SELECT
            FROM under
            JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) under.oid
            WHERE t.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
                AND t.typname
                OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array(w.types, ', '))
        )
),
-- Whole indexes whose first column is a key column.
indexes (name, column_name, is_unique, is_valid) AS (
    SELECT x.indexrelid::pg_catalog.regclass, k, x.indisunique, x.indisvalid
    FROM keys
    JOIN pg_catalog.pg_index AS x ON x.indrelid OPERATOR(pg_catalog.=) keys.oid
    JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid OPERATOR(pg_catalog.=) keys.oid AND a.attnum OPERATOR(pg_catalog.=) x.indkey[0]
    JOIN pg_catalog.unnest($3::pg_catalog.text[]) AS k ON k OPERATOR(pg_catalog.=) a.attname
    WHERE x.indpred IS NULL
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
    SELECT 2, 'in the way',
        pg_catalog.concat('column ', pg_catalog.quote_ident(name), ' is of type ', type),
        pg_catalog.concat(option, ' needs ', types, ': alter it, or name others in the section [postgres]')
    FROM misfits
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
        AND NOT EXISTS (
            SELECT FROM indexes WHERE column_name OPERATOR(pg_catalog.=) k AND is_valid
        )
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
