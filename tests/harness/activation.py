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
        fds = [listener.fileno() for listener in self.listening]
        names = {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": "check:admin:http"}
        # LISTEN_PID is the daemon's own, which only the shell that becomes it knows in time.
        redirections = " ".join(f"{3 + i}<&{SPARE + i}" for i in range(len(fds)))
        for i, fd in enumerate(fds):
            os.dup2(fd, SPARE + i, inheritable=True)
        try:
            self.process = Process(
                ["bash", "-c", f'LISTEN_PID=$$ exec "$@" {redirections}', "bash", BUILD / "apikeyd",
                 "-c", self.config], self.folder / "apikeyd.log",
                env={**os.environ, **(self.env or {}), **names},
                pass_fds=range(SPARE, SPARE + len(fds)))
        finally:
            for i in range(len(fds)):
                os.close(SPARE + i)

    def close(self):
        for listener in self.listening:
            listener.close()
