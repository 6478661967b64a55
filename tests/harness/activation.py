"""What systemd does for the daemon, done by the test: sockets that outlive it, and notifications."""

import os
import socket
import threading
import time

from harness.servers import BUILD, HANG, Apikeyd, Process

SPARE = 500  # descriptors from here on are nobody's


class Notifications:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(0.1)
        self.got = []  # (time, text)
        self.ending = False
        self.thread = threading.Thread(target=self.receive)
        self.thread.start()

    def receive(self):
        while not self.ending:
            try:
                text = self.socket.recv(4096).decode()
            except TimeoutError:
                continue
            self.got.append((time.monotonic(), text))

    def lines(self, start):
        """What was said that starts so."""
        return [line for _, text in list(self.got) for line in text.splitlines()
                if line.startswith(start)]

    def times(self, line):
        return [at for at, text in list(self.got) if line in text.splitlines()]

    def close(self):
        self.ending = True
        self.thread.join()
        self.socket.close()


def hand_over(daemon, named, env=None):
    """Start the daemon's program with sockets as systemd would; `named` is {"name": socket}."""
    names = {"LISTEN_FDS": str(len(named)), "LISTEN_FDNAMES": ":".join(named)}
    # LISTEN_PID is the daemon's own, which only the shell that becomes it knows in time.
    redirections = " ".join(f"{3 + i}<&{SPARE + i}" for i in range(len(named)))
    for i, listener in enumerate(named.values()):
        os.dup2(listener.fileno(), SPARE + i, inheritable=True)
    try:
        return Process(
            ["bash", "-c", f'LISTEN_PID=$$ exec "$@" {redirections}', "bash", BUILD / "apikeyd",
             "-c", daemon.config], daemon.folder / "apikeyd.log",
            env={**os.environ, **(env or {}), **names},
            pass_fds=range(SPARE, SPARE + len(named)))
    finally:
        for i in range(len(named)):
            os.close(SPARE + i)


class Activated(Apikeyd):
    """A daemon whose check, admin and HTTP sockets are somebody else's: they are listened on before
    it starts and after it has ended."""

    def __init__(self, folder, options, env=None):
        super().__init__(folder, options, env)
        self.http = self.folder / "http.sock"
        self.listening = []
        for path in (self.check, self.admin, self.http):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen(4096)
            self.listening.append(listener)

    def start(self):
        """Its sockets accept whether it runs or not; it does when it answers."""
        self.write_config()
        self.launch()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(HANG)
            probe.connect(str(self.admin))
            probe.sendall(b"PING\r\n")
            assert probe.recv(100) == b"+PONG\r\n", self.process.log()

    def launch(self):
        self.process = hand_over(self, dict(zip(("check", "admin", "http"), self.listening)), self.env)

    def close(self):
        for listener in self.listening:
            listener.close()
