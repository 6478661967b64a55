"""What tests of a change of primaries share: a daemon's settings, and which primary it is with."""

from conftest import info

OPTIONS = {"cache.ttl": "1h", "cache.negative_ttl": "1h", "cache.ttl_unlinked": "3s",
           "cache.stale_max": "0s", "postgres.timeout": "500ms", "log.level": "debug"}
NAMES = [f"key-{i}" for i in range(12)]


def hears(daemon, node):
    """Whether the change feed listens to this primary, on its present timeline, and lookups go there."""
    said = info(daemon)
    return said["revocation_bound"] == "notification" and said.get("store") == node.store()


def follows(load, node):
    """The daemon has found the primary, and knows what stands there."""
    load.wait(lambda: hears(load.daemon, node), "the primary to be heard")
    load.all_known()


def timelines(load):
    """Those of the stores that INFO named, in turn."""
    return [int(store.split("/")[1]) for store in load.judge.stores(load.daemon)]
