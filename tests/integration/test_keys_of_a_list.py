"""apikeyctl keys revoke and keys report: many keys at a time."""

import csv
import hashlib
import hmac
import io
import json
import os
import re
import subprocess
import uuid

import pytest
from conftest import check
from harness.key_form import GUIDE, checksum, make_key, scanner
from harness.schema import deploy
from harness.servers import BUILD, wait_until
from wire import Wire

pytestmark = pytest.mark.builds("release", "debug", "asan")


@pytest.fixture
def keys(db, daemon):
    """apikeyctl keys, as the owner of the table."""
    def ask(*arguments, text=None, status=0, config=daemon.config, **env):
        done = subprocess.run(
            [str(BUILD / "apikeyctl"), "keys", "--config", str(config), *map(str, arguments)],
            input=text if isinstance(text, bytes) or text is None else text.encode(), capture_output=True, timeout=120,
            check=False, env={**os.environ, "APIKEYCTL_DSN": db.dsn.replace("user=apikeyd", "user=postgres"), **env})
        assert done.returncode == status, (done.stdout, done.stderr)
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        return done
    return ask


def fingerprint(value):
    return "fp:" + hashlib.sha256(value.encode()).hexdigest()[:8]


def results(done):
    found = json.loads(done.stdout)
    return {line["line"]: line["result"] for line in found["lines"]}, found["summary"]


def active(db):
    return [key for key, in db.run("SELECT key_id FROM api.user_api_key WHERE is_active ORDER BY key_id")]


def test_scanners_find_what_create_makes(db, daemon, keys):
    """By the guide's expression and checksum; and create makes nothing that the daemon would refuse."""
    arguments = ("create", "--user", db.user_id, "--name", "x", "--json")
    made = [json.loads(keys(*arguments).stdout)["key_id"] for _ in range(3)]
    for key in [*made, make_key("key"), re.search(r"^    (key_\w+)$", GUIDE.read_text(), re.MULTILINE)[1]]:
        for text in (key, f'api_key = "{key}"', f"https://example.org/?k={key}&x", f"({key})."):
            assert scanner().findall(text) == [key]
        assert checksum(key[:-6]) == key[-6:]
    assert len(set(made)) == 3 and all(check(daemon.client(), key)[0] == "ALLOW" for key in made)
    for text in ("key_short", "monkey_" + "0" * 30, "key-" + "0" * 30):
        assert not scanner().search(text)
    prefixed = {"APIKEYD_KEYS_FORM": "prefixed", "APIKEYD_KEYS_PREFIX": "acme_live, key"}
    made = json.loads(keys(*arguments, **prefixed).stdout)["key_id"]
    assert re.fullmatch("acme_live_[0-9A-Za-z]{30}", made) and checksum(made[:-6]) == made[-6:]
    assert "has not the form" in keys(*arguments, "--key-id", "mine", status=65, **prefixed).stderr
    keys(*arguments, "--key-id", make_key("key"), **prefixed)


def test_leaked_keys_are_refused(db, daemon, keys, tmp_path):
    rows = {key: str(db.add_key(key)) for key in ("one", "two", "three", 'a "quoted\\" key, {with} all', "stays")}
    db.add_key("off", active=False)
    client = daemon.client()
    assert all(check(client, key)[0] == "ALLOW" for key in rows)
    path = tmp_path / "leaked.txt"
    path.write_bytes(b"\xef\xbb\xbf# found on a public page\r\n\r\n one\t\r\ntwo\n"
                     b'a "quoted\\" key, {with} all\n' + fingerprint("three").upper().replace("FP", "fp").encode() +
                     b"\nnobody's\noff\nfp:00000000\none")
    expected = {3: "revoked", 4: "revoked", 5: "revoked", 6: "revoked", 7: "unknown", 8: "inactive already",
                9: "unknown", 10: "revoked"}
    would = {line: result.replace("revoked", "would be revoked") for line, result in expected.items()}
    found, summary = results(keys("revoke", "--from-file", path, "--dry-run", "--json"))
    assert found == would and len(active(db)) == 5
    done = keys("revoke", "--from-file", path)
    for text in ("one", "two", "quoted", "nobody"):
        assert text not in done.stdout + done.stderr, "a key is shown"
    lines = [line.split(None, 3) for line in done.stdout.splitlines()]
    assert lines[0] == ["LINE", "KEY", "API_KEY_ID", "RESULT"]
    assert {int(line[0]): line[3] for line in lines[1:-1]} == expected
    assert ["4", fingerprint("two"), rows["two"], "revoked"] in lines
    assert "10 lines: 5 revoked, 1 inactive already, 0 ambiguous, 2 unknown, 2 blank or comments, 0 broken; keys revoked: 4\n" in done.stdout
    assert active(db) == ["stays"] and check(client, "stays")[0] == "ALLOW"
    for key in ("one", "two", "three"):
        wait_until(lambda key=key: check(client, key) == ["DENY", "inactive"], "the revocation")
    found, summary = results(keys("revoke", "--from-file", "-", "--json", text=path.read_bytes()))
    assert set(found.values()) == {"inactive already", "unknown"} and summary["keys_revoked"] == 0


def test_a_broken_list_changes_nothing(db, keys, tmp_path):
    db.add_key("one")
    path = tmp_path / "leaked.csv"
    path.write_bytes(b"one\n" + b"x" * 256 + b"\n\xff\xfe\nfp:123\nfp:1234567g\nno\0key\n" + b"y" * 5000000 + b"\n" +
                     b" " * 2000 + b"one\n#" + b"z" * 2000)
    for arguments in (("--from-file", path), ("--from-file", path, "--dry-run")):
        done = keys("revoke", *arguments, status=65)
        for line, why in ((2, "at most 255 bytes"), (3, "UTF-8"), (4, "8 hexadecimal digits"), (5, "8 hexadecimal"),
                          (6, "UTF-8"), (7, "at most 255 bytes"), (8, "at most 255 bytes")):
            assert any(f"leaked.csv:{line}: " in text and why in text for text in done.stderr.splitlines()), (line, done.stderr)
        assert "7 lines are broken, and nothing was changed" in done.stderr and done.stdout == ""
    assert active(db) == ["one"]
    found, summary = results(keys("revoke", "--from-file", path, "--skip-broken", "--json"))
    assert found == {1: "revoked"} and summary["broken"] == 7 and active(db) == []
    assert "No such file" in keys("revoke", "--from-file", tmp_path / "none", status=66).stderr
    assert "directory" in keys("revoke", "--from-file", tmp_path, status=66).stderr
    assert "--from-file" in keys("revoke", status=64).stderr
    assert results(keys("revoke", "--from-file", "/dev/null", "--json"))[0] == {}


def test_one_fingerprint_of_two_keys_is_ambiguous(db, keys):
    """Two texts whose SHA-256 begin alike."""
    seen, n = {}, 0
    while (other := seen.setdefault(fingerprint(f"key-{n}"), n)) == n:
        n += 1
    for key in (f"key-{n}", f"key-{other}"):
        db.add_key(key)
    done = keys("revoke", "--from-file", "-", text=fingerprint(f"key-{n}"), status=1)
    assert done.stdout.count(" ambiguous\n") == 2 and "keys deactivate" in done.stdout and len(active(db)) == 2
    found, _ = results(keys("revoke", "--from-file", "-", "--json", text=f"key-{n}\n"))
    assert found == {1: "revoked"} and active(db) == [f"key-{other}"]


def test_hashed_columns(db, start, keys, scratch):
    """By either secret, by the raw key in the fallback column; a hash is no key."""
    db.run("ALTER TABLE api.user_api_key ADD key_id_hash text, ALTER key_id DROP NOT NULL")
    secrets = [scratch / f"{name}-{db.name}" for name in ("new", "old")]
    for path in secrets:
        path.write_text(path.name)
    stored = [hmac.new(path.name.encode(), key.encode(), "sha256").hexdigest() for path, key in zip(secrets, "ab")]
    db.add_key(None, key_id_hash=stored[0])
    db.add_key(None, key_id_hash=stored[1])
    db.add_key("raw")
    db.add_key("other", key_id_hash="")  # which counts as no hash
    daemon = start({"postgres.key_column": "key_id_hash", "postgres.key_column_fallback": "key_id",
                    "postgres.key_transform": "hmac-sha256",
                    "postgres.key_transform_secret_file": ",".join(map(str, secrets))}, settled=False)
    found, _ = results(keys("revoke", "--from-file", "-", "--json", text=f"a\nb\nraw\n{stored[0]}\nnone",
                            config=daemon.config))
    assert found == {1: "revoked", 2: "revoked", 3: "revoked", 4: "unknown", 5: "unknown"}
    found, _ = results(keys("revoke", "--from-file", "-", "--json", "--dry-run", config=daemon.config,
                            text=f"{fingerprint(stored[0])}\n{fingerprint('other')}"))
    assert found == {1: "inactive already", 2: "would be revoked"}
    assert active(db) == ["other"]


@pytest.mark.slow
def test_a_long_list_in_batches(db, keys, tmp_path):
    """Each batch is a transaction: what a failed run has shown stays, and the next one goes on."""
    db.add_keys(5000)
    db.run("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
           "$$BEGIN RAISE 'not this one'; END$$; CREATE TRIGGER refuse BEFORE UPDATE ON api.user_api_key FOR EACH ROW "
           "WHEN (NEW.key_id = 'key-2500' AND NOT NEW.is_active) EXECUTE FUNCTION refuse()")
    path = tmp_path / "leaked.txt"
    with path.open("w") as file:
        for i in range(5000):
            file.write("".join(f"key-{i}\n" if k == 0 else f"made-up-{i}-{k}\n" for k in range(6)))
    done = keys("revoke", "--from-file", path, status=1)
    assert "not this one" in done.stderr and "goes on with the others" in done.stderr
    shown = done.stdout.count(" revoked\n")
    assert 0 < shown < 5000 and len(active(db)) == 5000 - shown
    db.run("DROP TRIGGER refuse ON api.user_api_key")
    _, summary = results(keys("revoke", "--from-file", path, "--json"))
    assert summary["lines"] == 30000 and summary["unknown"] == 25000
    assert summary["revoked"] == 5000 - shown and summary["inactive_already"] == shown and active(db) == []


def test_who_reads_the_output_need_not_read_all(db, keys):
    db.add_keys(3000)
    lines = "".join(f"key-{i}\n" for i in range(3000))
    owner = db.dsn.replace("user=apikeyd", "user=postgres")
    with subprocess.Popen([str(BUILD / "apikeyctl"), "keys", "revoke", "--from-file", "-", "--dsn", owner],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        run.stdout.close()
        run.stdin.write(lines.encode())
        run.stdin.close()
    assert run.returncode == 74 and active(db) == []


def test_reports(db, keys):
    other = db.add_user(uuid.uuid4())
    for name, made, used, columns in (
            ("old", 200, 100, {}), ("older", 200, 150, {}), ("busy", 200, 1, {}), ("=never, \"new\"", 10, None, {}),
            ("never old", 120, None, {"user_id": other}), ("off", 200, 100, {"active": False})):
        db.add_key(name, key_name=name, **columns)
        db.run("UPDATE api.user_api_key SET created_at = now() - %s * interval '1 day', "
               "last_used = now() - %s * interval '1 day' WHERE key_id = %s", made, used, name)

    def names(*arguments, **env):
        return [row["name"] for row in json.loads(keys("report", "--json", *arguments, **env).stdout)]
    assert names("--idle", "90d") == ["older", "never old", "old"]
    assert names("--idle", "20w") == ["older"] and names("--idle", "3000h") == ["older"]
    assert names("--idle", "90d", "--user", other) == ["never old"]
    assert names("--never-used") == ["never old", "=never, \"new\""]
    table = keys("report", "--idle", "90d").stdout.splitlines()
    assert table[0].split() == ["API_KEY_ID", "NAME", "ENDS", "LAST_USED", "CREATED", "USER", "KEY"] and len(table) == 4
    found = list(csv.DictReader(io.StringIO(keys("report", "--never-used", "--csv").stdout)))
    assert [row["name"] for row in found] == ["never old", "'=never, \"new\""], "no spreadsheet runs it"
    assert found[0]["last_used"] == "" and found[0]["user_id"] == str(other) and found[0]["fingerprint"] == fingerprint("never old")
    for wrong in ("90", "-90d", "0d", "90 d", "soon", "", "d", "9999999999999d", "200000d", "1.5d", "90dd"):
        assert "a time is expected" in keys("report", "--idle", wrong, status=64).stderr, wrong
    assert "needs postgres.expires_column" in keys("report", "--expiring", "14d", status=78).stderr
    db.run("ALTER TABLE api.user_api_key ADD ends timestamptz")
    for name, days in (("old", 20), ("older", 13), ("busy", 1), ("never old", -1), ("off", 5)):
        db.run("UPDATE api.user_api_key SET ends = now() + %s * interval '1 day' WHERE key_id = %s", days, name)
    ends = {"APIKEYD_POSTGRES_EXPIRES_COLUMN": "ends"}
    assert names("--expiring", "14d", **ends) == ["busy", "older"]
    assert names("--expiring", "30d", **ends) == ["busy", "older", "old"]
    assert names("--never-used", **ends) == ["=never, \"new\""], "an ended key is refused already"
    found = csv.DictReader(io.StringIO(keys("report", "--expiring", "2d", "--csv", **ends).stdout))
    assert [row["expires_at"][:4] for row in found] > ["2000"]
    keys("report", "--idle", "1d", "--expiring", "1d", status=64)
    keys("report", status=64)
    keys("report", "--idle", "1d", "--never-used", status=64)
    keys("report", "--never-used", "--json", "--csv", status=64)
    keys("report", "--never-used", "--still-tried", status=64)


def test_keys_that_are_still_tried(db, start, keys):
    """As the daemon has refused them: not those that pass again, are early, unknown, or have no row any more."""
    db.run("ALTER TABLE api.user_api_key ADD ends timestamptz, ADD starts timestamptz, ADD follows uuid")
    columns = {"expires_column": "ends", "not_before_column": "starts", "successor_of_column": "follows"}
    deploy(db.admin_dsn, **columns)
    other = db.add_user(uuid.uuid4())
    rows = {name: str(db.add_key(name, active=name not in ("off", "back", "gone"), key_name=f"{name} \u2713", **more))
            for name, more in (("off", {}), ("over", {"ends": "2020-01-01", "user_id": other}), ("early", {"starts": "2099-01-01"}),
                               ("back", {}), ("gone", {}), ("good", {}), ("quiet", {"ends": "2020-01-01"}))}
    db.run("UPDATE api.user_api_key SET follows = %s WHERE api_key_id = %s", rows["off"], rows["good"])
    daemon = start({f"postgres.{name}": value for name, value in columns.items()})
    client = daemon.client()

    def report(*arguments):
        return keys("report", "--still-tried", *arguments, config=daemon.config)
    done = report("--json")
    assert json.loads(done.stdout) == [] and "refusals of other hosts and of earlier runs are not in the list" in done.stderr
    for key in ("off", "over", "early", "back", "gone", "good", "none", "off", "off"):
        check(client, key)
    db.set_active("back", True)
    db.run("DELETE FROM api.user_api_key WHERE key_id = 'gone'")
    done = report("--json")
    found = json.loads(done.stdout)
    assert [(row["api_key_id"], row["verdict"], row["refusals"], row["fingerprint"]) for row in found] == \
        [(rows["off"], "DENY inactive", 3, fingerprint("off")), (rows["over"], "DENY expired", 1, fingerprint("over"))]
    assert [row["successor"] for row in found] == [rows["good"], None]
    assert found[0]["first_refused"] < found[1]["first_refused"] < found[0]["last_refused"]
    assert "2 refused keys pass by now, or have no row any more" in done.stderr
    table = report().stdout.splitlines()
    assert table[0].split() == ["API_KEY_ID", "NAME", "VERDICT", "REFUSALS", "FIRST_REFUSED", "LAST_REFUSED", "LAST_USED",
                                "USER", "KEY", "SUCCESSOR", "SUCCESSOR_USED"] and len(table) == 3
    done = report("--csv", "--user", other)
    assert [row["api_key_id"] for row in csv.DictReader(io.StringIO(done.stdout))] == [rows["over"]]
    assert "no row" not in done.stderr
    # The command by itself, in both versions of the protocol.
    reply = daemon.admin_client().execute_command("REFUSED")
    assert reply[::2] == ["since", "replaced", "keys"] and len(reply[5]) == 4
    with Wire(daemon.admin) as wire:
        wire.ask("HELLO", "3")
        assert wire.ask("REFUSED")[b"keys"][0][b"refusals"] == 3
    plain = {"APIKEYD_POSTGRES_ACTIVE_COLUMN": ""}
    assert "no key is inactive or expires" in keys("report", "--still-tried", status=78, **plain).stderr
    daemon.stop()
    assert "Is apikeyd running" in keys("report", "--still-tried", status=69, config=daemon.config).stderr


def test_a_table_without_the_columns(db, keys, start):
    daemon = start({"postgres.active_column": "", "postgres.created_column": "", "postgres.updated_column": "",
                    "usage.touch_updated_at": "no"}, settled=False)
    db.add_key("one")
    assert "active_column is empty" in keys("revoke", "--from-file", "-", text="one", status=78, config=daemon.config).stderr
    assert json.loads(keys("report", "--idle", "1s", "--json", config=daemon.config).stdout) == []
    assert len(json.loads(keys("report", "--never-used", "--json", config=daemon.config).stdout)) == 1
