-- Verify apikeyd:announce on pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT 1 / (NOT p.prosecdef AND p.prosrc LIKE '%apikeyd.note_unannounced_change()%')::int
FROM pg_proc AS p
WHERE p.oid = 'apikeyd.notify_key_change'::regproc;

SELECT xid, made_at FROM apikeyd.unannounced_change WHERE false;

ROLLBACK;
