"""A line between the daemon and a server's Unix socket, which can do what lines do when they fail."""

import contextlib
import select
import socket
import threading
import time
from pathlib import Path

POSTGRES = ".s.PGSQL.5432"

PASS = "pass"
SILENT = "silent"    # a black hole: connects, takes bytes, never answers
RESET = "reset"      # hangs up at once
TRICKLE = "trickle"  # a byte now and then
HOLD = "hold"        # what the server says does not arrive yet


class Proxy:
    """Passes bytes on between the socket `name` in `folder` and the one in the server's folder."""

    def __init__(self, folder, server, name=POSTGRES):
        self.folder = Path(folder)
        self.server = str(Path(server) / name)
        self.listener = self.listen(name)
        self.ends = {}
        self.server_ends = set()
        self.delay = lambda: 0  # seconds that an answer of the server takes longer
        self.says = lambda data: data  # what arrives of what the server says
        self.mode = PASS
        self.wake_reader, self.wake_writer = socket.socketpair()
        self.stopping = False
        self.thread = threading.Thread(target=self.run)

    def listen(self, name):
        self.folder.mkdir()
        self.folder.chmod(0o755)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / name))
        listener.listen()
        return listener

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.become(PASS)
        self.thread.join()
        for end in (self.listener, self.wake_reader, self.wake_writer, *self.ends):
            end.close()

    def become(self, mode):
        self.mode = mode
        self.wake_writer.send(b"x")

    def hold(self):
        self.become(HOLD)

    def silence(self):
        self.become(SILENT)

    def speak(self):
        self.become(PASS)

    def run(self):
        while not self.stopping:
            watched = [] if self.mode == SILENT else list(self.ends)
            if self.mode == HOLD:
                watched = [end for end in watched if end not in self.server_ends]
            ready, _, _ = select.select([self.wake_reader, self.listener, *watched], [], [])
            if self.wake_reader in ready:
                self.wake_reader.recv(100)
                if self.mode == RESET:
                    self.close_all()
                continue
            if self.listener in ready:
                self.open()
            if self.mode == RESET:
                self.close_all()
                continue
            if self.mode == TRICKLE:
                time.sleep(0.002)
            for end in ready:
                if end in self.ends:
                    self.pass_on(end)

    def open(self):
        client, _ = self.listener.accept()
        server = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            server.connect(self.server)
            self.ends[client], self.ends[server] = server, client
            self.server_ends.add(server)
            return
        client.close()
        server.close()

    def close(self, end):
        if end in self.ends:
            for dead in (end, self.ends[end]):
                del self.ends[dead]
                self.server_ends.discard(dead)
                dead.close()

    def close_all(self):
        for end in list(self.ends):
            self.close(end)

    def pass_on(self, end):
        data = b""
        with contextlib.suppress(OSError):
            data = end.recv(1 if self.mode == TRICKLE else 65536)
            if end in self.server_ends:
                time.sleep(self.delay())
                data = self.says(data)
            self.ends[end].sendall(data)
        if not data:
            self.close(end)


class TcpProxy(Proxy):
    """Likewise, from an IP address to the socket `name` in the server's folder; `port` is a free one."""

    def __init__(self, address, server, name=POSTGRES, port=0):
        self.address, self.port = address, port
        super().__init__(server, server, name)

    def listen(self, name):
        listener = socket.create_server((self.address, self.port),
                                        family=socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        self.port = listener.getsockname()[1]
        return listener
