-- What do counts of uses need in the database, and what stands in their way? See usage_check.h. The session's
-- path is pg_catalog, pg_temp.
-- $1 and $2 are the schema and the name of the table of counts, $3 and $4 of the ledgers' table, $5 and $6
-- of the table of keys, $7 the types of its IDs; $8 the daemon's role, or '' for the session's; $9 'drop' or
-- 'keep', for counts of deleted keys; $10 the retention in seconds; $11 the name of the function that
-- maintains partitions, $12 of the view.
WITH
wanted (kind, schema, name, option, names, types, key) AS (
    VALUES
    (
        'usage', $1, $2, 'postgres.usage_table', '{api_key_id,bucket,verdict,uses}'::text [],
        ARRAY[$7, 'timestamptz', 'text', 'int8'], '{api_key_id,bucket,verdict}'::text []
    ),
    (
        'ledger', $3, $4, 'postgres.ledger_table', '{ledger_id,number,updated_at}'::text [],
        '{uuid,int8,timestamptz}'::text [], '{ledger_id}'::text []
    )
),
tables AS (
    SELECT
        w.*, c.oid, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity, n.oid AS place,
        format('%I.%I', w.schema, w.name) AS title, coalesce(c.relkind IN ('r', 'p'), false) AS is_table
    FROM wanted AS w
    LEFT JOIN pg_namespace AS n ON n.nspname = w.schema
    LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
),
counts AS (SELECT * FROM tables WHERE kind = 'usage' AND is_table),
role AS (
    SELECT oid, rolname, rolsuper OR rolbypassrls AS above
    FROM pg_roles
    WHERE rolname = coalesce(nullif($8, ''), current_user)
),
columns AS (
    SELECT t.title, t.kind, t.option, w.name, w.types, a.attnum, y.typname::text AS type
    FROM tables AS t
    CROSS JOIN unnest(t.names, t.types) AS w (name, types)
    LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attname = w.name AND NOT a.attisdropped
    LEFT JOIN pg_type AS y ON y.oid = a.atttypid
    WHERE t.is_table
),
indexes AS (
    SELECT
        t.kind, i.indexrelid::regclass AS index,
        i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
        AND (
            SELECT array_agg(a.attname::text ORDER BY a.attname)
            FROM pg_attribute AS a
            WHERE a.attrelid = t.oid AND a.attnum = ANY (i.indkey[0 : i.indnkeyatts - 1])
        ) = t.key AS serves
    FROM tables AS t
    JOIN pg_index AS i ON i.indrelid = t.oid
),
rights AS (
    SELECT t.title, v.verb
    FROM tables AS t
    CROSS JOIN role
    CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) AS v (verb)
    WHERE t.is_table AND NOT has_table_privilege(role.oid, t.oid, v.verb)
),
-- As they cascade: from the table of counts to the table of keys.
links AS (
    SELECT f.conname, f.confdeltype = 'c' AS cascades
    FROM counts
    JOIN pg_constraint AS f ON f.conrelid = counts.oid AND f.contype = 'f'
    JOIN pg_class AS k ON k.oid = f.confrelid AND k.relname = $6
    JOIN pg_namespace AS n ON n.oid = k.relnamespace AND n.nspname = $5
),
partitions AS (
    SELECT
        c.oid, c.oid::regclass AS title, b.bound = 'DEFAULT' AS takes_rest,
        coalesce(substring(b.bound FROM 'FROM [(]''([^'']+)''[)]')::timestamptz, '-infinity') AS low,
        substring(b.bound FROM 'TO [(]''([^'']+)''[)]')::timestamptz AS high
    FROM counts
    JOIN pg_partitioned_table AS p
        ON p.partrelid = counts.oid AND p.partstrat = 'r' AND p.partnatts = 1
        AND EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = counts.oid AND attname = 'bucket' AND attnum = p.partattrs[0]
        )
    JOIN pg_inherits AS i ON i.inhparent = counts.oid
    JOIN pg_class AS c ON c.oid = i.inhrelid
    CROSS JOIN pg_get_expr(c.relpartbound, c.oid) AS b (bound)
),
maintainer AS (
    SELECT p.oid, substring(p.prosrc FROM 'retention CONSTANT interval := ''([0-9]+) seconds''') AS retention
    FROM pg_proc AS p
    JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = $1 AND p.proname = $11 AND p.pronargs = 0
),
found (place, state, says, action) AS (
    SELECT 1, 'missing', concat('table ', title),
        concat(
            CASE WHEN place IS NULL THEN concat('CREATE SCHEMA ', quote_ident(schema), '; then ') END,
            'apikeyctl schema sql --part usage'
        )
    FROM tables
    WHERE oid IS NULL
    UNION ALL
    SELECT 1, 'in the way', concat(title, ' is not a table'), concat('rename it, or name another one in ', option)
    FROM tables
    WHERE oid IS NOT NULL AND NOT is_table
    UNION ALL
    SELECT 1, 'ok', concat('table ', title), ''
    FROM tables
    WHERE is_table
    UNION ALL
    SELECT 2, 'in the way', concat('table ', title, ' lacks column ', name),
        concat('rename the table, then apikeyctl schema sql --part usage; or name another one in ', option)
    FROM columns
    WHERE attnum IS NULL
    UNION ALL
    SELECT 2, 'in the way', concat('column ', name, ' of ', title, ' is of type ', type, ', not ', types),
        concat('rename the table, then apikeyctl schema sql --part usage; or name another one in ', option)
    FROM columns
    WHERE type <> ALL (string_to_array(types, ' or '))
    UNION ALL
    SELECT 2, 'in the way', concat('column ', quote_ident(a.attname), ' of ', t.title, ' takes no row without a value'),
        concat('ALTER TABLE ', t.title, ' ALTER ', quote_ident(a.attname), ' DROP NOT NULL')
    FROM tables AS t
    JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE t.is_table AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attname <> ALL (t.names)
    UNION ALL
    SELECT 3, 'missing', concat('unique index of ', title, ' on (', array_to_string(key, ', '), ')'),
        concat('ALTER TABLE ', title, ' ADD PRIMARY KEY (', array_to_string(key, ', '), ')')
    FROM tables AS t
    WHERE is_table AND NOT EXISTS (SELECT FROM indexes AS i WHERE i.kind = t.kind AND i.serves)
    UNION ALL
    SELECT 3, 'advice', concat('index ', index, ': each flush of counts writes to it'),
        concat('DROP INDEX ', index, ' unless a query needs it')
    FROM indexes
    WHERE kind = 'usage' AND NOT serves
    UNION ALL
    SELECT 3, 'advice', concat('no room on the pages of ', c.oid::regclass, ': counts are written to its index too'),
        concat('ALTER TABLE ', c.oid::regclass, ' SET (fillfactor = 80)')
    FROM pg_class AS c
    WHERE (c.oid IN (SELECT oid FROM counts) OR c.oid IN (SELECT oid FROM partitions)) AND c.relkind = 'r'
        AND coalesce(array_to_string(c.reloptions, ','), '') NOT LIKE '%fillfactor=%'
    UNION ALL
    SELECT 4, 'missing', concat('USAGE on schema ', t.schema, ' for role ', role.rolname),
        'apikeyctl schema sql --part usage'
    FROM tables AS t
    CROSS JOIN role
    WHERE t.is_table AND NOT has_schema_privilege(role.oid, t.place, 'USAGE')
    UNION ALL
    SELECT 5, 'missing', concat(string_agg(verb, ', ' ORDER BY verb), ' on ', title, ' for role ', role.rolname),
        'apikeyctl schema sql --part usage'
    FROM rights
    CROSS JOIN role
    GROUP BY title, role.rolname
    UNION ALL
    SELECT 6, 'in the way', concat('row security hides rows of ', t.title, ' from role ', role.rolname),
        concat('ALTER TABLE ', t.title, ' DISABLE ROW LEVEL SECURITY')
    FROM tables AS t
    CROSS JOIN role
    WHERE t.is_table AND t.relrowsecurity AND NOT role.above
        AND (t.relforcerowsecurity OR NOT pg_has_role(role.oid, t.relowner, 'USAGE'))
    UNION ALL
    SELECT 7, 'missing', 'foreign key that deletes the counts of a deleted key (usage.deleted_keys)',
        concat(
            'apikeyctl schema sql --part usage; if the table holds counts, delete those whose key is gone, then ',
            'ALTER TABLE ', counts.title, ' ADD FOREIGN KEY (api_key_id) REFERENCES … ON DELETE CASCADE, which keeps ',
            'changes of keys away while it reads the counts'
        )
    FROM counts
    WHERE $9 = 'drop' AND NOT EXISTS (SELECT FROM links WHERE cascades)
    UNION ALL
    SELECT 7, CASE WHEN cascades THEN 'advice' ELSE 'in the way' END,
        CASE WHEN cascades
            THEN concat('foreign key ', quote_ident(conname), ' deletes the counts of a deleted key')
            ELSE concat('foreign key ', quote_ident(conname), ': no key with counts can be deleted')
        END,
        'apikeyctl schema sql --part usage, or drop it; or usage.deleted_keys = drop'
    FROM links
    WHERE $9 = 'keep' OR NOT cascades
    UNION ALL
    SELECT 8, 'missing', concat('partitions of ', title, ', which usage.retention needs'),
        'apikeyctl schema sql --part usage makes the table its first partition'
    FROM counts
    WHERE $10::int8 > 0 AND relkind = 'r'
    UNION ALL
    SELECT 8, 'in the way', concat('table ', title, ' is not partitioned by ranges of bucket'),
        'rename the table, then apikeyctl schema sql --part usage'
    FROM counts
    WHERE $10::int8 > 0 AND relkind = 'p'
        AND NOT EXISTS (SELECT FROM partitions)
        AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = counts.oid)
    UNION ALL
    SELECT 8, 'missing', concat('partition of ', title, ' for ', to_char(m, 'YYYY-MM')), 'apikeyctl usage maintain'
    FROM counts
    CROSS JOIN unnest(ARRAY[now(), now() + interval '1 month']) AS m
    WHERE $10::int8 > 0 AND relkind = 'p'
        AND NOT EXISTS (SELECT FROM partitions WHERE NOT takes_rest AND low <= m AND high > m)
    UNION ALL
    SELECT 8, 'advice', concat(title, ' has held counts that no partition of a month takes'), 'apikeyctl usage maintain'
    FROM partitions
    WHERE $10::int8 > 0 AND takes_rest AND pg_relation_size(oid) > 0
    UNION ALL
    SELECT 8, 'advice', concat(title, ' is older than usage.retention'), 'apikeyctl usage maintain'
    FROM partitions
    WHERE $10::int8 > 0 AND high <= now() - concat($10, ' seconds')::interval
    UNION ALL
    SELECT 8, 'advice', concat(title, ' has partitions, and usage.retention is 0s: nobody makes and drops them'),
        'set usage.retention, or look after them'
    FROM counts
    WHERE $10::int8 = 0 AND relkind = 'p'
    UNION ALL
    SELECT 9, 'missing', concat('function ', quote_ident($1), '.', quote_ident($11), '()'),
        'apikeyctl schema sql --part usage'
    FROM counts
    WHERE $10::int8 > 0 AND NOT EXISTS (SELECT FROM maintainer)
    UNION ALL
    SELECT 9, 'missing', concat('usage.retention in function ', oid::regprocedure, ': it has ', retention, ' s'),
        'apikeyctl schema sql --part usage'
    FROM maintainer
    WHERE retention IS DISTINCT FROM $10 AND EXISTS (SELECT FROM counts)
    UNION ALL
    SELECT 9, 'missing', concat('EXECUTE on ', f.oid::regprocedure, ' for role ', role.rolname),
        'apikeyctl schema sql --part usage'
    FROM maintainer AS f
    CROSS JOIN role
    WHERE $10::int8 > 0 AND NOT has_function_privilege(role.oid, f.oid, 'EXECUTE')
    UNION ALL
    SELECT 9, 'advice', concat('no view ', quote_ident($1), '.', quote_ident($12)), 'apikeyctl schema sql --part usage'
    FROM counts
    WHERE NOT EXISTS (
        SELECT FROM pg_class
        WHERE relnamespace = counts.place AND relname = $12 AND relkind = 'v'
    )
)
SELECT state, says, action FROM found ORDER BY place, state, says
