"""A server that speaks Redis's protocol until it is told to do what no Redis does."""

import contextlib
import socket
import threading

MIB = 1 << 20


class FakeRedis:
    """Listens on the Unix socket `path`, holds nothing and takes everything. With `says` set, the MGET of a
    lookup is answered by says(connection), and nothing more is read on that connection. An XREAD, of which `reads`
    counts, is answered by `entries`."""

    def __init__(self, path):
        self.path = path
        self.says = None
        self.reads, self.entries = 0, b"+OK\r\n"
        self.opened = 0
        self.ends = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(0.1)
        self.threads = [threading.Thread(target=self.accept)]

    def url(self):
        return f"unix://{self.path}"

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        for thread in self.threads:
            thread.join()
        self.listener.close()

    def accept(self):
        while not self.ends.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self.listener.accept()
                connection.settimeout(0.1)
                self.opened += 1
                self.threads.append(threading.Thread(target=self.serve, args=[connection]))
                self.threads[-1].start()

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            received = b""
            while not self.ends.is_set():
                with contextlib.suppress(TimeoutError):
                    data = connection.recv(65536)
                    if not data:
                        return
                    received += data
                words = received.split(b"\r\n")
                # Whole commands only: a fake may count on what this one client sends.
                while len(words) > 1 and len(words) > 2 * (count := int(words[0][1:])) + 1:
                    command, words = words[2:2 * count + 1:2], words[2 * count + 1:]
                    if command[0] == b"MGET" and self.says and b":probe:" not in command[1]:
                        self.says(connection)
                        return
                    nils = (count - 1) * b"$-1\r\n"
                    self.reads += command[0] == b"XREAD"
                    connection.sendall({b"MGET": b"*%d\r\n" % (count - 1) + nils, b"XREAD": self.entries}
                                       .get(command[0], b"+OK\r\n"))
                received = b"\r\n".join(words)

    def trickle(self, connection):
        """A byte a second."""
        for byte in b"*1\r\n$1000\r\n" + 1000 * b"x":
            connection.sendall(bytes([byte]))
            if self.ends.wait(1):
                return

    def flood(self, connection):
        """As much as is taken of a value without an end."""
        connection.settimeout(5)
        connection.sendall(b"*1\r\n$9000000000000000000\r\n")
        for _ in range(100):
            connection.sendall(MIB * b"x")
        self.ends.wait()

    def text(self, text):
        def say(connection):
            connection.sendall(text)
            self.ends.wait()
        return say
