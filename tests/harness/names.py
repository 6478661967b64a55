"""Names as one program sees them: files of /etc that are a test's own, and a name server that it controls.

    names = Names(folder)                      # knows localhost, and no name server
    names.say({"db.test": ["127.7.7.7"]})      # /etc/hosts, read by the program's next look
    with NameServer({"redis.test": ["127.8.8.8"]}) as server:
        names.ask(server.address)              # /etc/resolv.conf
        server.hold()                          # no answers, until server.speak()
        start(options, inside=names.runner)
"""

import functools
import ipaddress
import random
import socket
import struct
import subprocess
import threading
from pathlib import Path

FILES = ("hosts", "resolv.conf", "nsswitch.conf")
BIND = f'for file in {" ".join(FILES)}; do mount --bind "$0/$file" /etc/$file || exit 1; done; exec "$@"'
A, AAAA = 1, 28
NO_SUCH_NAME = 3


@functools.cache
def available():
    """Whether this user may make a mount namespace, and listen where a name server does."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind((loopback(), 53))
    except OSError:
        return False
    return subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def loopback():
    """An address of this host that is most likely nobody else's."""
    return str(ipaddress.ip_address("127.0.0.0") + random.randrange(1 << 16, 1 << 24))


class Names:
    """Files in `folder` that stand in for those in /etc, for a program that `runner` runs."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.runner = ["unshare", "-m", "--propagation", "private", "sh", "-c", BIND, self.folder]
        self.write("nsswitch.conf", "hosts: files dns\n")
        self.say({})
        self.ask()

    def write(self, name, text):
        """In place: what is bound to /etc is this very file."""
        (self.folder / name).write_text(text)

    def say(self, hosts):
        lines = ["127.0.0.1 localhost\n"] + [f"{address} {name}\n" for name, addresses in hosts.items()
                                             for address in addresses]
        self.write("hosts", "".join(lines))

    def ask(self, *servers, options=""):
        self.write("resolv.conf", "".join(f"nameserver {server}\n" for server in servers) +
                   (f"options {options}\n" if options else ""))


class NameServer:
    """Answers for the names that it is given, {name: [addresses]}: for others that they do not exist."""

    def __init__(self, names=()):
        self.names = dict(names)
        self.held = None  # the queries that wait while it is silent
        self.asked = 0
        self.lock = threading.Lock()
        self.address = loopback()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.address, 53))
        self.socket.settimeout(0.1)
        self.stopping = False
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()
        self.socket.close()

    def run(self):
        while not self.stopping:
            try:
                query, client = self.socket.recvfrom(512)
            except TimeoutError:
                continue
            with self.lock:
                self.asked += 1
                if self.held is None:
                    self.socket.sendto(self.answer(query), client)
                else:
                    self.held.append((query, client))

    def hold(self):
        with self.lock:
            self.held = []

    def speak(self):
        with self.lock:
            for query, client in self.held:
                self.socket.sendto(self.answer(query), client)
            self.held = None

    def answer(self, query):
        """RFC 1035, 4.1: the header, the question as it came, a record for each address."""
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack_from("!H", query, at + 1)[0]
        addresses = self.names.get(".".join(labels).lower())
        found = [ipaddress.ip_address(address).packed for address in addresses or ()]
        found = [packed for packed in found if {A: 4, AAAA: 16}.get(kind) == len(packed)]
        header = query[:2] + struct.pack("!HHHHH", 0x8180 | (NO_SUCH_NAME if addresses is None else 0),
                                         1, len(found), 0, 0)
        records = [struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed for packed in found]
        return header + query[12:at + 5] + b"".join(records)
