import pytest
from conftest import BUILD, info
from harness.servers import HANG, Process, wait_until
from test_budget import KEYS, instructions
from test_hashed_keys import hash_of, hashed, options, OLD, NEW

@pytest.mark.parametrize("pipeline", [64, 1])
@pytest.mark.parametrize("kind", ["plain", "hmac", "fallback", "two", "two+fallback"])
def test_cost(hashed, start, options, pipeline, kind):
    for i in range(KEYS):
        hashed.add_key(f"key-{i}", key_id_hash=hash_of(f"key-{i}"))
    o = {} if kind == "plain" else options(*([OLD, NEW] if "two" in kind else [OLD]), fallback="fallback" in kind)
    daemon = start({**o, "cache.ttl": "1h", "cache.ttl_unlinked": "1h"}, wait=False)
    daemon.write_config()
    daemon.process = Process(
        ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={daemon.folder}/callgrind.out", "-q",
         BUILD / "apikeyd", "-c", daemon.config], daemon.folder / "apikeyd.log")
    wait_until(lambda: daemon.admin.exists() and daemon.settled(), "the daemon")
    count = instructions(daemon, pipeline)
    print("COST", kind, pipeline, count)
