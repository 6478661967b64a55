"""./dev screenshots: pictures of the status page and of `apikeyctl top`, in docs/screenshots.

A daemon with a private PostgreSQL and Redis answers a load of some minutes, with revocations and an outage of Redis, so
that the page has something to plot.
"""

import os
import pty
import random
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
import uuid
from fcntl import ioctl
from pathlib import Path

import psycopg

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "docs" / "pictures")]
from canvas import Canvas  # noqa: E402
from harness.gateways import free_port  # noqa: E402
from harness.operators import Browser  # noqa: E402
from harness.servers import BUILD, ROOT, Apikeyd, Postgres, Redis, Scratch, migrate, wait_until  # noqa: E402

PICTURES = ROOT / "docs" / "screenshots"
SECONDS = 240
KEYS = 2000
COLUMNS, LINES = 100, 22


class Screen:
    """Just enough of a terminal for what curses sends to it."""

    def __init__(self):
        self.rows = [[" "] * COLUMNS for _ in range(LINES)]
        self.row = self.column = 0

    def erase(self, row, begin, end):
        self.rows[row][begin:end] = [" "] * (end - begin)

    def control(self, numbers, letter):
        first = int(numbers.split(";")[0] or 0) if "?" not in numbers else 0
        if letter in "Hf":
            row, _, column = numbers.partition(";")
            self.row, self.column = int(row or 1) - 1, int(column or 1) - 1
        elif letter in "Gd":
            position = max(first, 1) - 1
            self.row, self.column = (position, self.column) if letter == "d" else (self.row, position)
        elif letter in "AB":
            self.row += max(first, 1) if letter == "B" else -max(first, 1)
        elif letter in "CD":
            self.column += max(first, 1) if letter == "C" else -max(first, 1)
        elif letter == "K":
            self.erase(self.row, *((0, self.column + 1) if first == 1 else (self.column, COLUMNS)))
        elif letter == "X":
            self.erase(self.row, self.column, min(self.column + max(first, 1), COLUMNS))
        elif letter in "@P":
            row, count = self.rows[self.row], max(first, 1)
            cut = [" "] * count + row[self.column:] if letter == "@" else row[self.column + count:] + [" "] * count
            row[self.column:] = cut[:COLUMNS - self.column]
        elif letter == "J":
            self.erase(self.row, self.column if first == 0 else 0, COLUMNS)
            for row in range(self.row + 1 if first == 0 else 0, LINES):
                self.erase(row, 0, COLUMNS)
        elif letter == "b":
            for _ in range(max(first, 1)):
                self.put(self.rows[self.row][self.column - 1])

    def put(self, letter):
        if letter == "\n":
            self.row = min(self.row + 1, LINES - 1)
        elif letter in "\r\b":
            self.column = 0 if letter == "\r" else self.column - 1
        elif letter >= " " and self.column < COLUMNS:
            self.rows[self.row][self.column] = letter
            self.column += 1

    def take(self, text):
        for numbers, letter, plain in re.findall(r"\x1b\[([\d;?]*)([a-zA-Z@])|\x1b(?:[()].|[=>78])|(.)", text, re.DOTALL):
            if letter:
                self.control(numbers, letter)
            elif plain:
                self.put(plain)


def top(daemon):
    """What `apikeyctl top` shows after some seconds."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.environ.pop("COLUMNS", None)
        os.environ.pop("LINES", None)
        wait_until(lambda: os.get_terminal_size(0).lines == LINES, "the terminal's size")
        os.execv(BUILD / "apikeyctl", ["apikeyctl", "--socket", str(daemon.admin), "top"])
    ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    screen, drawn, end = Screen(), b"", time.monotonic() + 6
    while time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            drawn += os.read(master, 65536)
    os.write(master, b"q")
    os.close(master)
    os.waitpid(pid, 0)
    screen.take(drawn.decode())
    return ["".join(row).rstrip() for row in screen.rows]


def draw_top(rows):
    while not rows[-1]:
        rows.pop()
    canvas = Canvas(860, 60 + 17 * len(rows), "apikeyctl top")
    for i, row in enumerate(rows):
        canvas.terminal(16, 58 + 17 * i, row)
    (PICTURES / "top.svg").write_text(canvas.svg())


def add_keys(dsn):
    user = uuid.uuid4()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [user])
        db.execute("INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id, is_active) SELECT "
                   "gen_random_uuid(), 'key', 'key:' || n, %s, n %% 10 <> 0 FROM generate_series(1, %s) AS n", [user, KEYS])


def gateway(daemon, name, rate, stop):
    """One connection that asks, faster and slower in waves."""
    client, rng, begin = daemon.client(client_name=name), random.Random(name), time.monotonic()
    while not stop.wait(1 / 50):
        wave = 1 + 0.5 * (1 if (time.monotonic() - begin) % 60 < 30 else -1)
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(int(rate * wave / 50)):
                key = rng.randint(1, KEYS) if rng.random() < 0.97 else f"no such {rng.random()}"
                pipeline.execute_command("CHECK", f"key:{key}")
            pipeline.execute(raise_on_error=False)


def revoke(dsn, stop):
    rng = random.Random(18)
    with psycopg.connect(dsn, autocommit=True) as db:
        while not stop.wait(0.5):
            db.execute("UPDATE api.user_api_key SET is_active = NOT is_active WHERE key_id = %s",
                       [f"key:{rng.randint(1, KEYS)}"])


def take(daemon, redis_server, dsn, folder):
    stop = threading.Event()
    threads = [threading.Thread(target=gateway, args=(daemon, name, rate, stop))
               for name, rate in (("nginx", 4000), ("haproxy", 1500), ("batch", 300))]
    threads.append(threading.Thread(target=revoke, args=(dsn, stop)))
    for thread in threads:
        thread.start()
    try:
        time.sleep(SECONDS * 0.6)
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        time.sleep(SECONDS * 0.1)
        os.kill(redis_server.process.pid, signal.SIGCONT)
        time.sleep(SECONDS * 0.3)
        draw_top(top(daemon))
        browser = Browser(folder, f"http://{daemon.options['listen.metrics']}/", width=1100)
        try:
            time.sleep(3)
            height = browser.run("return document.documentElement.scrollHeight")
            browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": 1100, "height": height, "deviceScaleFactor": 1, "mobile": False})
            time.sleep(2)
            browser.driver.save_screenshot(str(PICTURES / "status-page.png"))
        finally:
            browser.stop()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def main():
    scratch = Scratch()
    postgres, redis_server, daemon = Postgres(scratch.path / "pg"), Redis(scratch.path / "redis"), None
    try:
        postgres.start()
        redis_server.start()
        postgres.create_database("app")
        migrate(postgres.uri("app"))
        add_keys(postgres.dsn("app"))
        daemon = Apikeyd(scratch.path / "run", {
            "redis.url": redis_server.url(), "postgres.dsn": postgres.dsn("app", "apikeyd"),
            "listen.metrics": f"127.0.0.1:{free_port()}"})
        daemon.start()
        take(daemon, redis_server, postgres.dsn("app"), scratch.path)
    finally:
        for server in (daemon, redis_server, postgres):
            if server and server.process:
                server.stop()
        scratch.remove()


if __name__ == "__main__":
    main()
