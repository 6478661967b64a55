"""./dev run: a private PostgreSQL, Redis and apikeyd, shown at work, until Ctrl-C."""

import shlex
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.servers import (BUILD, Apikeyd, Postgres, Redis, Scratch, migrate,  # noqa: E402
                             wait_until)


def say(text=""):
    print(text, flush=True)


def create_keys(dsn):
    """One user with an active and an inactive key."""
    user = uuid.uuid4()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [user])
        db.execute(
            "INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id, is_active) "
            "VALUES (%s, 'Production Key', 'demo-active-key', %s, true), "
            "(%s, 'Old Key', 'demo-inactive-key', %s, false)",
            [uuid.uuid4(), user, uuid.uuid4(), user])


def revoke_and_allow(client, dsn):
    """By SQL, as anybody might; each is enforced as soon as PostgreSQL has notified it."""
    with psycopg.connect(dsn, autocommit=True) as db:
        for active, answer in (("false", "DENY"), ("true", "ALLOW")):
            sql = f"UPDATE api.user_api_key SET is_active = {active} WHERE key_id = 'demo-active-key'"
            db.execute(sql)
            say(f"> {sql}")
            reply = wait_until(lambda want=answer: answer_of(client, want), answer)
            say(f"> CHECK demo-active-key\n  {reply}")


def answer_of(client, wanted):
    reply = client.execute_command("CHECK", "demo-active-key")
    return reply[0] == wanted and " ".join(reply)


def ask_over_http(daemon):
    said = subprocess.run(["curl", "-si", "--unix-socket", daemon.options["listen.http"], "-H",
                           "X-API-Key: demo-active-key", "http://apikeyd/authorize"],
                          capture_output=True, text=True, check=True).stdout.splitlines()
    say("> GET /authorize, X-API-Key: demo-active-key")
    for line in said:
        if line.startswith(("HTTP", "X-", "Cache")):
            say(f"  {line}")


def transcript(daemon, dsn):
    client = daemon.client()
    admin = daemon.admin_client()
    # The first flush, just after the start, must not get ahead of the FLUSH shown below.
    wait_until(lambda: admin.info()["usage_swaps"] > 0, "the first flush")
    wait_until(lambda: admin.info()["feed_up"], "the feed")
    for key in ("demo-active-key", "demo-inactive-key", "no-such-key"):
        say(f"> CHECK {key}")
        say("  " + " ".join(client.execute_command("CHECK", key)))
    revoke_and_allow(client, dsn)
    ask_over_http(daemon)
    rows = admin.execute_command("FLUSH")
    say(f"> FLUSH            (by itself every few seconds)\n  {rows} row written")
    with psycopg.connect(dsn) as db:
        say("> SELECT key_name, is_active, last_used FROM api.user_api_key")
        for name, active, last_used in db.execute(
                "SELECT key_name, is_active, last_used FROM api.user_api_key ORDER BY key_name"):
            say(f"  {name:16} {'active' if active else 'inactive':10} {last_used or '-'}")


def how_to_talk(daemon, postgres):
    apikeyctl = shlex.quote(str(BUILD / "apikeyctl"))
    say(f"""
Talk to it (paste into another terminal):

  redis-cli -s {daemon.check} CHECK demo-active-key
  printf 'CHECK demo-active-key\\r\\nQUIT\\r\\n' | nc -U {daemon.check}
  printf 'CHECK demo-active-key\\r\\nQUIT\\r\\n' | curl -s --unix-socket {daemon.check} telnet://x
  curl -si --unix-socket {daemon.options["listen.http"]} -H 'X-API-Key: demo-active-key' http://apikeyd/authorize
  {apikeyctl} --socket {daemon.admin} explain demo-active-key
  {apikeyctl} --socket {daemon.admin} top
  {apikeyctl} --dsn "{postgres.dsn('demo')}" keys list
  curl -s --unix-socket {daemon.metrics} http://apikeyd/metrics
  curl -s --unix-socket {daemon.metrics} http://apikeyd/readyz
  psql "{postgres.dsn('demo')}" -c "UPDATE api.user_api_key SET is_active = NOT is_active"

Configuration: {daemon.config}
Program:       {BUILD / 'apikeyd'}""")


def serve(scratch, once):
    postgres = Postgres(scratch.path / "pg")
    redis_server = Redis(scratch.path / "redis")
    daemon = None
    try:
        postgres.start()
        redis_server.start()
        postgres.create_database("demo")
        migrated = migrate(postgres.uri("demo"))
        if migrated.returncode != 0:
            sys.exit(f"migrations failed:\n{migrated.stdout}{migrated.stderr}")
        create_keys(postgres.dsn("demo"))
        daemon = Apikeyd(scratch.path / "run", {
            "redis.url": redis_server.url(),
            "postgres.dsn": postgres.dsn("demo", "apikeyd"),
            "listen.http": scratch.path / "run" / "http.sock",
        })
        daemon.start()
        transcript(daemon, postgres.dsn("demo"))
        if not once:
            how_to_talk(daemon, postgres)
            say("\nCtrl-C stops everything.")
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
            say("\nstopping")
    finally:
        for server in (daemon, redis_server, postgres):
            if server and server.process:
                server.stop()


def main():
    once = sys.argv[1:] == ["--once"]
    if sys.argv[1:] and not once:
        sys.exit("usage: ./dev run [--once]")
    # Waited for in serve(); until then they must not cut the cleaning up short.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    scratch = Scratch()
    try:
        serve(scratch, once)
    finally:
        scratch.remove()


if __name__ == "__main__":
    main()
