"""A line between the daemon and a server's Unix socket that can fall silent without closing."""

import select
import socket
import threading
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes bytes on between `folder` and the PostgreSQL whose socket is in `server`."""

    def __init__(self, folder, server):
        self.folder = Path(folder)
        self.server = str(Path(server) / SOCKET)
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.folder / SOCKET))
        self.listener.listen()
        self.ends = {}
        self.speaking = threading.Event()
        self.speaking.set()
        self.stop_reader, self.stop_writer = socket.socketpair()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.speak()
        self.stop_writer.send(b"x")
        self.thread.join()
        for end in (self.listener, self.stop_reader, self.stop_writer, *self.ends):
            end.close()

    def silence(self):
        self.speaking.clear()

    def speak(self):
        self.speaking.set()

    def run(self):
        while True:
            ready, _, _ = select.select([self.stop_reader, self.listener, *self.ends], [], [])
            if self.stop_reader in ready:
                return
            self.speaking.wait()
            for end in ready:
                if end is self.listener:
                    self.open()
                elif end in self.ends:
                    self.pass_on(end)

    def open(self):
        client, _ = self.listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.server)
        self.ends[client], self.ends[server] = server, client

    def pass_on(self, end):
        other = self.ends[end]
        try:
            data = end.recv(65536)
            if data:
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for dead in (end, other):
                del self.ends[dead]
                dead.close()
