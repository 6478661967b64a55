"""Instructions of a CHECK of a hot key, counted by callgrind: exact where times are noise.

Counted is the front thread, without libcrypto. The back thread does what it does by the clock (a
heartbeat each second), and so more of it on a slow machine; libcrypto takes some 2,050 for its SHA-256
of one block, in code that it chooses by the processor. Debian's compiler and libraries are what is left
to depend on: BUDGETS has what was counted with those of Debian 12 (gcc 12.2, glibc 2.36) and of Debian 13
(gcc 14.2, glibc 2.41), MARGIN what others may take more. Whoever makes the path longer raises the budgets
here, with a reason; whoever makes it shorter lowers them."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from conftest import BUILD
from harness.schema import deploy
from harness.servers import HANG, Process, wait_until
from wire import Wire, command

pytestmark = [pytest.mark.slow, pytest.mark.needs("valgrind"), pytest.mark.builds("release")]

# By the compiler's version, and by requests in a pipeline. ATTRIBUTES is of a key that has two of 100 bytes each.
BUDGETS = {12: {64: 1070, 1: 2583}, 14: {64: 1148, 1: 2730}}
BUDGETS_WITH_ATTRIBUTES = {12: {64: 1937, 1: 3365}, 14: {64: 1937, 1: 3365}}
COMPILER = min(int(subprocess.run(["gcc", "-dumpversion"], check=True, capture_output=True, text=True).stdout.split(".")[0]),
               max(BUDGETS))
BUDGET, WITH_ATTRIBUTES = BUDGETS[COMPILER], BUDGETS_WITH_ATTRIBUTES[COMPILER]
MARGIN = 1.05
COUNTING = 10  # what usage.counts may take more
# More for a CHECK of a key with a quota, counted by the hour.
QUOTA = 300
KEYS, REQUESTS = 64, 6400


def own_costs(dump):
    """Instructions that a thread executed in each library, by the file's name: callgrind-format(1)."""
    costs, names, library, skip = Counter(), {}, "", False
    for line in dump.read_text().splitlines():
        if line.startswith(("ob=", "cob=")):  # of what calls and what is called; a name stands there once
            kind, _, name = line.partition("=")
            number, _, path = name.partition(" ")
            name = names.setdefault(number, Path(path).name)
            library = name if kind == "ob" else library
        elif line.startswith("calls="):
            skip = True  # on the next line is the cost of what was called, which is counted there
        elif re.match(r"[0-9+*-]", line):
            if not skip:
                costs[library] += int(line.split()[1])
            skip = False
    return costs


def instructions(daemon, pipeline, *options):
    """Per CHECK, of the front thread, in what happened since the counters were set to zero."""
    pid = str(daemon.process.pid)
    batch = [command("CHECK", f"key-{i}", *options) for i in range(KEYS)]
    batches = [b"".join(batch[i:i + pipeline]) for i in range(0, KEYS, pipeline)]
    with Wire(daemon.check) as wire:
        def ask(times):
            for _ in range(times):
                for request in batches:
                    wire.send(request)
                    for _ in range(pipeline):
                        assert wire.reply()[0] == b"ALLOW"
        ask(2)
        subprocess.run(["callgrind_control", "-z", pid], check=True, capture_output=True, timeout=HANG)
        ask(REQUESTS // KEYS)
        subprocess.run(["callgrind_control", "-d", pid], check=True, capture_output=True, timeout=HANG)
        # A dump for each thread. The first thread is the back; of the others only the front has work.
        def dumps():
            found = sorted(daemon.folder.glob("callgrind.out.1-*"))[1:]
            whole = [dump for dump in found if re.search(r"^totals: ", dump.read_text(), re.MULTILINE)]
            return len(whole) >= 2 and len(whole) == len(found) and whole
        costs = max(map(own_costs, wait_until(dumps, "the dumps")), key=Counter.total)
    print({name: round(cost / REQUESTS, 1) for name, cost in costs.most_common(5)})
    return sum(cost for name, cost in costs.items() if not name.startswith("libcrypto")) / REQUESTS


@pytest.fixture
def count(start, figure):
    """count(pipeline, name, {options}, *options of CHECK): instructions a CHECK, of a daemon under callgrind."""
    def run(pipeline, name, options, *rest):
        daemon = start({"cache.ttl": "1h", "cache.ttl_unlinked": "1h", **options}, wait=False)
        daemon.write_config()
        daemon.process = Process(
            ["valgrind", "--tool=callgrind", "--separate-threads=yes",
             f"--callgrind-out-file={daemon.folder}/callgrind.out", "-q", BUILD / "apikeyd", "-c", daemon.config],
            daemon.folder / "apikeyd.log")
        wait_until(lambda: daemon.admin.exists() and daemon.settled(), "the daemon")
        counted = instructions(daemon, pipeline, *rest)
        figure(f"instructions a CHECK{name} with -P {pipeline}", counted)
        return counted
    return run


@pytest.mark.parametrize("pipeline", BUDGET)
def test_instructions_of_a_hot_check(db, count, pipeline):
    db.add_keys(KEYS)
    counted = count(pipeline, "", {})
    assert BUDGET[pipeline] / 2 < counted <= BUDGET[pipeline] * MARGIN
    with_counts = count(pipeline, ", counted by the hour,", {"usage.counts": "hour"})
    assert counted / 2 < with_counts <= counted + COUNTING


@pytest.mark.parametrize("pipeline", WITH_ATTRIBUTES)
def test_instructions_of_attributes(db, count, pipeline):
    db.run("ALTER TABLE api.user_api_key ADD plan text DEFAULT repeat('a', 100), ADD scopes text DEFAULT repeat('b', 100)")
    db.add_keys(KEYS)
    deploy(db.admin_dsn, attribute_columns="plan, scopes")
    counted = count(pipeline, " … ATTRIBUTES", {"postgres.attribute_columns": "plan, scopes"}, "ATTRIBUTES")
    assert WITH_ATTRIBUTES[pipeline] / 2 < counted <= WITH_ATTRIBUTES[pipeline] * MARGIN


def test_keys_without_attributes_and_quotas_cost_what_they_did(db, count):
    """Beside others that have some."""
    db.run("ALTER TABLE api.user_api_key ADD plan text, ADD quota integer")
    db.add_keys(KEYS)
    deploy(db.admin_dsn, attribute_columns="plan", quota_column="quota")
    options = {"postgres.attribute_columns": "plan", "postgres.quota_column": "quota", "usage.counts": "hour"}
    assert count(64, " beside attributes and quotas", options) <= BUDGET[64] * MARGIN + COUNTING
    db.run("UPDATE api.user_api_key SET quota = 250000")
    assert COUNTING < count(64, " with a quota", options) - BUDGET[64] <= QUOTA
