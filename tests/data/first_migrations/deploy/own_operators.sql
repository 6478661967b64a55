-- Deploy apikeyd:own_operators to pg
-- "notify" and "announce" once took operators and functions as the search_path of whoever deployed
-- them had them. A role that could create in a schema of that path may have put in its own: the = by
-- which a trigger's condition compares a column of type varchar, say. Such an operator runs as
-- whoever changes a key, and decides which change is announced. What is bound so is made anew, with
-- PostgreSQL's own. Where nothing is, nothing is locked.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
DECLARE
    -- PostgreSQL's own objects are in no dependency.
    bound oid[] := (
        SELECT array_agg(d.objid)
        FROM pg_depend AS d
        LEFT JOIN pg_trigger AS t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
        LEFT JOIN pg_attrdef AS a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
        WHERE (t.tgfoid = 'apikeyd.notify_key_change'::regproc
                OR a.adrelid = 'apikeyd.unannounced_change'::regclass)
            AND (d.refclassid = 'pg_operator'::regclass
                OR d.refclassid = 'pg_proc'::regclass AND d.refobjid IS DISTINCT FROM t.tgfoid)
    );
    found record;
BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'apikeyd.unannounced_change'::regclass AND attnum > 0 AND NOT attisdropped
            AND atttypid NOT IN ('xid8'::regtype, 'timestamptz'::regtype)
    ) THEN
        RAISE EXCEPTION 'a column of apikeyd.unannounced_change has a type that is not PostgreSQL''s own'
            USING HINT = 'Revert the migration "announce" and deploy it again.';
    END IF;

    IF EXISTS (
        SELECT FROM pg_attrdef
        WHERE adrelid = 'apikeyd.unannounced_change'::regclass AND oid = ANY (bound)
    ) THEN
        ALTER TABLE apikeyd.unannounced_change
            ALTER xid SET DEFAULT pg_current_xact_id(),
            ALTER made_at SET DEFAULT now();
    END IF;

    -- Parents first: to replace a trigger sets those of the partitions to its own state.
    FOR found IN
        SELECT
            t.tgrelid::regclass AS relation, t.tgname, t.tgparentid = 0 AS is_own,
            replace(pg_get_triggerdef(t.oid), 'CREATE TRIGGER', 'CREATE OR REPLACE TRIGGER') AS sql,
            CASE t.tgenabled
                WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA'
                WHEN 'D' THEN 'DISABLE' ELSE 'ENABLE'
            END AS state
        FROM pg_trigger AS t
        WHERE t.tgfoid = 'apikeyd.notify_key_change'::regproc
            AND EXISTS (SELECT FROM pg_trigger AS b WHERE b.oid = ANY (bound))
        ORDER BY is_own DESC
    LOOP
        IF found.is_own THEN
            EXECUTE found.sql;
        END IF;
        EXECUTE format('ALTER TABLE %s %s TRIGGER %I', found.relation, found.state, found.tgname);
    END LOOP;
END
$$;

COMMIT;
