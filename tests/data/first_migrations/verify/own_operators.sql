-- Verify apikeyd:own_operators on pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT 1 / (count(*) = 0)::int
FROM pg_depend AS d
LEFT JOIN pg_trigger AS t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
LEFT JOIN pg_attrdef AS a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
WHERE (t.tgfoid = 'apikeyd.notify_key_change'::regproc
        OR a.adrelid = 'apikeyd.unannounced_change'::regclass)
    AND (d.refclassid = 'pg_operator'::regclass
        OR d.refclassid = 'pg_proc'::regclass AND d.refobjid IS DISTINCT FROM t.tgfoid);

ROLLBACK;
