"""A deployment as a whole, of the kind that runs in containers behind API Gateway: no Redis, PostgreSQL by TLS and password
only, a table in another schema with other names, keys that are about to be hashed, and Lambda events."""

import hashlib
import hmac
import json
import os
import shutil
import subprocess
import uuid

import psycopg
import pytest
from conftest import flush, info
from harness.names import loopback
from harness.servers import BUILD, Postgres, wait_until
from http_wire import HttpWire

pytestmark = pytest.mark.builds("release")
PEPPER, PASSWORD = "a pepper", "a password"
TABLE = """
    CREATE SCHEMA grantor;
    CREATE TABLE grantor.api_token (
        token_id uuid PRIMARY KEY, token_name text NOT NULL, token text UNIQUE, token_hash text UNIQUE,
        owner_id uuid NOT NULL, enabled boolean NOT NULL, last_seen timestamp, changed_at timestamp NOT NULL DEFAULT now(),
        created_at timestamp NOT NULL DEFAULT now())"""
OPTIONS = {
    "redis.url": "", "postgres.table": "grantor.api_token", "postgres.id_column": "token_id",
    "postgres.key_column": "token_hash", "postgres.key_column_fallback": "token",
    "postgres.key_transform": "hmac-sha256", "postgres.user_column": "owner_id", "postgres.active_column": "enabled",
    "postgres.last_used_column": "last_seen", "postgres.updated_column": "changed_at", "postgres.name_column": "token_name"}


def private(path, text, user=None):
    path.write_text(text)
    path.chmod(0o600)
    if user:
        shutil.chown(path, user)
    return path


@pytest.fixture
def server(scratch):
    """It takes the daemon's role by TLS with its password, and no other way. The migrating role makes no roles."""
    folder, address = scratch / "deployed", loopback()
    certificate, key = folder / "server.crt", folder / "server.key"
    server = Postgres(folder, [f"listen_addresses={address}", "ssl=on", f"ssl_cert_file={certificate}",
                               f"ssl_key_file={key}"])
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=database", "-addext", f"subjectAltName=IP:{address}", "-keyout", key, "-out",
                    certificate], check=True, stderr=subprocess.DEVNULL)
    private(key, key.read_text(), server.user)
    certificate.chmod(0o644)
    (server.data / "pg_hba.conf").write_text("local all postgres,migrator trust\nhostssl all app all scram-sha-256\n")
    try:
        server.start()
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
            admin.execute("CREATE ROLE migrator LOGIN")
            admin.execute("CREATE DATABASE grants OWNER migrator")
        passfile = private(scratch / "pgpass", f"{address}:*:grants:app:{PASSWORD}\n")
        server.app_dsn = (f"host={address} dbname=grants user=app sslmode=verify-full sslrootcert={certificate} "
                          f"passfile={passfile}")
        yield server
    finally:
        server.stop()


@pytest.fixture
def migrator(server):
    with psycopg.connect(server.dsn("grants", "migrator"), autocommit=True) as session:
        session.execute(TABLE)
        yield session


def hash_of(key):
    return hmac.new(PEPPER.encode(), key.encode(), hashlib.sha256).hexdigest()


def add(migrator, owner, raw, stored):
    return str(migrator.execute(
        "INSERT INTO grantor.api_token (token_id, token_name, token, token_hash, owner_id, enabled) VALUES (%s, 'name', "
        "%s, %s, %s, true) RETURNING token_id", [uuid.uuid4(), raw, stored, owner]).fetchone()[0])


def schema(config, *args, text=None):
    return subprocess.run([BUILD / "apikeyctl", "schema", *args, "--config", config], capture_output=True, text=True,
                          input=text, check=False, env={**os.environ, "PGTZ": "UTC"})


def test_a_lambda_event_in_a_policy_out(server, migrator, start, scratch):
    socket = scratch / "deployed.http"
    pepper = private(scratch / "pepper", PEPPER)
    daemon = start({**OPTIONS, "postgres.dsn": server.app_dsn, "postgres.key_transform_secret_file": pepper,
                    "listen.http": socket, "http.inactive_status": "401"}, settled=False)
    owner = uuid.uuid4()
    hashed, raw = add(migrator, owner, None, hash_of("hashed key")), add(migrator, owner, "raw key", None)

    # The owner's own migration takes the statements in.
    statements = schema(daemon.config, "sql", "--role", "app")
    assert statements.returncode == 0, statements.stderr
    done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.dsn("grants", "migrator")],
                          input=statements.stdout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    checked = schema(daemon.config, "check", "--role", "app", "--dsn", server.dsn("grants", "migrator"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the triggers to count")

    def ask(wire, key):
        """As the gateway's event has it: apiKey is the value, and apiKeyId is stored nowhere."""
        event = {"type": "REQUEST", "methodArn": "arn:aws:execute-api:us-east-1:1:a/prod/GET/v1", "headers": {},
                 "requestContext": {"identity": {"apiKey": key, "apiKeyId": "gateway-id"}}}
        reply = wire.ask("/aws/authorizer", "POST", ["Content-Type: application/json"], json.dumps(event).encode())
        assert reply.status == 200, reply
        policy = json.loads(reply.body)
        return policy["policyDocument"]["Statement"][0]["Effect"], policy["context"]

    with HttpWire(socket) as wire:
        assert ask(wire, "hashed key") == ("Allow", {"apiKeyId": hashed, "userId": str(owner)})
        assert ask(wire, "raw key") == ("Allow", {"apiKeyId": raw, "userId": str(owner)})
        for key in (hash_of("hashed key"), "no such key"):
            assert ask(wire, key) == ("Deny", {"reason": "unknown"})
        for key, row in (("hashed key", hashed), ("raw key", raw)):
            migrator.execute("UPDATE grantor.api_token SET enabled = false WHERE token_id = %s", [row])
            wait_until(lambda key=key: ask(wire, key) == ("Deny", {"reason": "inactive"}), "the revocation")
        assert wire.ask("/authorize", fields=["X-API-Key: raw key"]).status == 401
    assert flush(daemon) == 2
    assert migrator.execute("SELECT bool_and(last_seen > now() AT TIME ZONE 'UTC' - interval '5 min') "
                            "FROM grantor.api_token").fetchone() == (True,)
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the bound")
