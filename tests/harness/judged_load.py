"""Keys that change on whichever server is the primary, and clients that ask for them all the time."""

import contextlib
import random
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import psycopg

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "integration")]
from harness.bound_judge import BoundJudge  # noqa: E402
from harness.servers import wait_until  # noqa: E402
from wire import Wire  # noqa: E402

TABLE = "api.user_api_key"
UNKNOWN, INACTIVE = ("DENY", "unknown"), ("DENY", "inactive")


class Keys:
    """Active keys of one user. A change is told to the judge, if there is one, before and after. Those
    `elsewhere` are unknown here: a test puts them where nothing that is answered may come from."""

    def __init__(self, dsn, names, elsewhere=()):
        self.dsn, self.judge = dsn, None
        self.user = uuid.uuid4()
        self.rows = {name: (uuid.uuid4(), True) for name in names}
        self.elsewhere = list(elsewhere)
        with self.connect() as db:
            db.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [self.user])
            for name in self.rows:
                self.insert(db, name)

    def connect(self, dsn=None):
        return psycopg.connect(dsn or self.dsn, autocommit=True)

    def insert(self, db, name):
        """Its row in whichever database."""
        row = self.rows.get(name) or (uuid.uuid4(), True)
        db.execute(f"INSERT INTO {TABLE} (api_key_id, key_name, key_id, user_id, is_active) "
                   "VALUES (%s, 'judged', %s, %s, %s)", [row[0], name, self.user, row[1]])

    def names(self):
        return [*self.rows, *self.elsewhere]

    def answer(self, name):
        """What is right now."""
        if name not in self.rows:
            return UNKNOWN
        api_key_id, active = self.rows[name]
        return ("ALLOW", str(api_key_id), str(self.user)) if active else INACTIVE

    def answers(self):
        return {name: self.answer(name) for name in self.names()}

    @contextlib.contextmanager
    def changing(self, name, active, begin=None):
        self.rows[name] = (self.rows[name][0], active)
        history = self.judge.histories[name] if self.judge else None
        if history:
            history.change(begin or time.monotonic(), self.answer(name))
        yield
        if history:
            history.changed(time.monotonic())

    def set_active(self, name, active):
        with self.connect() as db, self.changing(name, active):
            db.execute(f"UPDATE {TABLE} SET is_active = %s WHERE key_id = %s", [active, name])

    @contextlib.contextmanager
    def moving(self, find):
        """Meanwhile another server becomes the primary: then what stands in the rows where `find`() leads is
        what is right. Yields a list, in the end of the keys that were changed on the old primary only."""
        since, lost = time.monotonic(), []
        self.judge.held = True
        yield lost
        self.dsn = find()
        with self.connect() as db:
            now = dict(db.execute(f"SELECT key_id, is_active FROM {TABLE}").fetchall())
        assert self.rows.keys() <= now.keys(), "the new primary was promoted before it had got the keys"
        for name, (_, active) in self.rows.items():
            history = self.judge.histories[name]
            if len(history.ends) < len(history.versions) - 1:
                history.changed(time.monotonic())  # nobody was told whether it was committed
            if now[name] != active:
                lost.append(name)
                with self.changing(name, now[name], since):
                    pass
        self.judge.held = False


class Load:
    """Clients that ask about random keys; every answer goes to the judge."""

    def __init__(self, daemon, keys, judge, clients=2):
        self.daemon, self.keys, self.judge = daemon, keys, judge
        self.count = Counter()
        self.reasons = Counter()  # of UNAVAILABLE
        self.stopping = False
        self.wire = Wire(daemon.check)
        self.threads = [threading.Thread(target=self.run, args=[i]) for i in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join()
        self.wire.close()

    def run(self, number):
        rng = random.Random(number)
        try:
            with Wire(self.daemon.check) as wire:
                while not self.stopping:
                    self.ask(rng.choice(self.keys.names()), wire, number)
                    time.sleep(0.001)
        except (OSError, EOFError) as error:
            self.judge.wrong.append(f"client {number}: {error!r}")

    def ask(self, key, wire=None, who="test"):
        """The answer, or None when it is UNAVAILABLE. Judged as all are."""
        asked = time.monotonic()
        reply = (wire or self.wire).ask("CHECK", key)
        answered = time.monotonic()
        if isinstance(reply, RuntimeError):
            if not str(reply).startswith("UNAVAILABLE"):
                self.judge.wrong.append(f"{key}: {reply}")
            self.count["UNAVAILABLE"] += 1
            self.reasons[str(reply)] += 1
            return None
        answer = tuple(part.decode() for part in reply)
        self.count[answer[0]] += 1
        self.judge.judge(f"{self.daemon.folder.name} {who}", key, answer, asked, answered)
        return answer

    def wait(self, condition, what):
        """Until it is so; ends early when an answer was wrong."""
        wait_until(lambda: self.judge.wrong or condition(), what)
        assert not self.judge.wrong, self.judge.wrong[0]

    def becomes(self, key, answer):
        self.wait(lambda: self.ask(key) == answer, f"{key} to be {answer}")

    def never_wrong(self, *keys):
        """Each of them is UNAVAILABLE or right, now that nothing is remembered."""
        self.daemon.admin_client().execute_command("INVALIDATE", "ALL")
        for key in keys:
            self.wait(lambda k=key: self.ask(k) in (None, self.keys.answer(k)), f"{key} to be UNAVAILABLE or right")

    def all_known(self):
        """Every key is answered as it is right now."""
        for key in self.keys.names():
            self.becomes(key, self.keys.answer(key))

    def revoke(self, key):
        """The key is revoked; from some time on, and within the bound, it is allowed no more."""
        self.keys.set_active(key, False)
        self.wait(lambda: (self.ask(key) or UNKNOWN)[0] != "ALLOW", f"{key} to be revoked")


@contextlib.contextmanager
def judged_load(daemon, keys, clients=2):
    """Load while the block runs; at its end no answer was wrong."""
    with BoundJudge(keys.answers(), [daemon]) as judge:
        keys.judge = judge
        with Load(daemon, keys, judge, clients) as load:
            yield load
    assert not judge.wrong, "\n".join(judge.wrong[:3])
    assert judge.judged > 0
