"""A disk that stands still while usage has to go to the spill file."""

import contextlib
import threading

import redis
from conftest import flush
from harness.servers import wait_until

TABLE = "api.user_api_key"


@contextlib.contextmanager
def locked(db, key):
    """Its row: so that its usage stays pending, and has to go to the spill file."""
    with db.connect(autocommit=False) as holder:
        holder.execute(f"SELECT FROM {TABLE} WHERE key_id = %s FOR UPDATE", [key])
        yield
        holder.rollback()


@contextlib.contextmanager
def disk_stands_still(daemon, still):
    """From the first fsync on, whichever thread does it; a FLUSH waits for it."""
    answer = []

    def ask():
        try:
            answer.append(flush(daemon))
        except redis.RedisError as error:
            answer.append(str(error))

    asking = threading.Thread(target=ask)
    with still.stand("*", "fsync", "usage.spill"):
        asking.start()
        wait_until(still.stands, "the disk to stand still")
        yield answer
    asking.join()
