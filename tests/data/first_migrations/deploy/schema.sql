-- Deploy apikeyd:schema to pg
-- The tables as the schema document has them. A database in which the application's own
-- migrations made them keeps its own: nothing here changes what exists.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- Remembered for the revert: what was there before stays there.
CREATE SCHEMA IF NOT EXISTS api;
CREATE SCHEMA IF NOT EXISTS apikeyd;

CREATE TABLE apikeyd.made_by_schema AS
SELECT to_regclass('api."user"') IS NULL AS made_user,
       to_regclass('api.user_api_key') IS NULL AS made_user_api_key;

CREATE TABLE IF NOT EXISTS api."user" (
    user_id uuid PRIMARY KEY
);

CREATE TABLE IF NOT EXISTS api.user_api_key (
    api_key_id uuid PRIMARY KEY,
    key_name text NOT NULL,
    key_id text NOT NULL,
    user_id uuid NOT NULL REFERENCES api."user" (user_id) ON DELETE CASCADE,
    last_used timestamp,
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);

DO $$
BEGIN
    IF (SELECT made_user_api_key FROM apikeyd.made_by_schema) THEN
        COMMENT ON COLUMN api.user_api_key.key_id IS 'AWS API Gateway key identifier';
    END IF;
END
$$;

CREATE INDEX IF NOT EXISTS user_api_key_user_id_idx ON api.user_api_key (user_id);

COMMIT;
