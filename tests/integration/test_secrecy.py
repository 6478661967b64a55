"""The raw key is nowhere but in the caller's hands."""

import contextlib

import redis
from conftest import check
from wire import Wire

KEYS = ["RAWKEY-active-0001", "RAWKEY-inactive-0002", "RAWKEY-unknown-0003"]


def test_raw_keys_are_nowhere(db, postgres, redis_server, start):
    """Every log level, every output, every Redis key and value, every file of the daemon."""
    db.add_key(KEYS[0])
    db.add_key(KEYS[1], active=False)
    db.run("DROP INDEX api.user_api_key_key_id_idx")
    db.add_key(KEYS[0])
    daemon = start({"log.level": "debug", "usage.flush_interval": "100ms"})
    client, admin = daemon.client(), daemon.admin_client()
    seen = []
    for key in KEYS:
        client.execute_command("CHECK", key)
        seen.append(str(admin.execute_command("EXPLAIN", key)))
    seen.append(str(admin.client_list()))
    seen.append(str(admin.info()))
    seen.append(admin.execute_command("METRICS"))
    seen.append(str(admin.config_get("*")))
    for key in KEYS:
        admin.execute_command("INVALIDATE", key)
        # mistakes that people make: a key where a command or an argument belongs
        for words in ([key], ["CHECK", "x", key], ["CHECK", key, "WITHIN", key], ["CLIENT", key],
                      ["CONFIG", "GET", key], ["HELLO", key], ["CHECK", key + "\xff" * 300]):
            with Wire(daemon.admin) as wire:
                seen.append(str(wire.ask(*words)))
    db.run("ALTER TABLE api.user_api_key RENAME TO elsewhere")
    admin.execute_command("INVALIDATE", "ALL")
    for key in KEYS:
        with contextlib.suppress(redis.ResponseError):
            check(client, key)
    postgres.stop()
    for key in KEYS:
        with contextlib.suppress(redis.ResponseError):
            check(client, key)
    store = redis_server.client()
    seen += store.keys() + [store.get(key) for key in store.keys()]
    seen.append(daemon.log())
    for path in daemon.folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                seen.append(file.read(10_000_000).decode(errors="replace"))
    assert "fp:" in daemon.log()
    assert [text for text in seen if "RAWKEY" in text] == []
