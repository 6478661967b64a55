"""Redis as Sentinel runs it: servers that replicate, and sentinels that watch them; and a sentinel that says what a test
wants, for what real ones cannot be made to say."""

import contextlib
import socket
import threading

import redis
from harness.gateways import free_port
from harness.servers import Process, Redis, wait_until

HOST, MASTER = "127.0.0.1", "mymaster"


class TcpRedis(Redis):
    """At a port of 127.0.0.1 too."""

    def __init__(self, folder, *settings, primary=None):
        self.port = free_port()
        after = ("--replicaof", HOST, primary.port) if primary else ()
        super().__init__(folder, "--port", self.port, "--bind", HOST, "--repl-diskless-sync-delay", "0", *after, *settings)

    def role(self):
        return self.client().execute_command("ROLE")[0]


class Sentinel:
    """Watches the server at a port. `lines` are lines of its configuration; with `plain` no, it has no port but that of
    its lines."""

    def __init__(self, folder, port, *lines, quorum=2, plain=True, name=MASTER):
        self.port, self.folder = free_port(), folder
        folder.mkdir()
        self.file = folder / "sentinel.conf"
        self.file.write_text("\n".join([
            f"port {self.port if plain else 0}", f"bind {HOST}", f"dir {folder}", f"unixsocket {folder}/s.sock",
            f"sentinel monitor {name} {HOST} {port} {quorum}", f"sentinel down-after-milliseconds {name} 400",
            f"sentinel failover-timeout {name} 3000", *(line.format(port=self.port) for line in lines)]) + "\n")
        self.process = None

    def start(self):
        self.process = Process(["redis-server", self.file, "--sentinel"], self.folder.with_suffix(".log"))

    def ask(self, *words, **options):
        with contextlib.closing(redis.Redis(unix_socket_path=f"{self.folder}/s.sock", **options)) as client:
            return client.execute_command("SENTINEL", *words)

    def port_of_master(self):
        return int(self.ask("GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def stop(self):
        if self.process:
            self.process.stop()
        self.process = None


class Family:
    """A master, its replica and three sentinels."""

    def __init__(self, folder):
        first = TcpRedis(folder / "first")
        self.servers = [first, TcpRedis(folder / "second", primary=first)]
        self.sentinels = [Sentinel(folder / f"sentinel{n}", first.port) for n in range(3)]

    def start(self):
        for one in (*self.servers, *self.sentinels):
            one.start()
        self.settle()

    def stop(self):
        for one in (*self.sentinels, *self.servers):
            one.stop()

    def url(self, *others, rest=""):
        sentinels = ",".join(f"{HOST}:{port}" for port in (*others, *(one.port for one in self.sentinels)))
        return f"redis+sentinel://{sentinels}/{MASTER}{rest}"

    def master(self):
        """As the sentinels agree and the server says itself."""
        ports = {one.port_of_master() for one in self.sentinels}
        found = [one for one in self.servers if {one.port} == ports and one.process]
        return found[0] if found and found[0].role() == "master" else None

    def settle(self):
        """All know of each other, and the replica follows; (master, replica)."""
        def settled():
            with contextlib.suppress(redis.RedisError):
                master = self.master()
                states = [dict(zip(state[::2], state[1::2])) for one in self.sentinels
                          for state in one.ask("REPLICAS", MASTER)]
                for one in self.sentinels:
                    one.ask("CKQUORUM", MASTER)
                    known = one.ask("SENTINELS", MASTER)
                    if len(known) != 2:
                        return None
                if master and len(states) == 3 and all(
                        state[b"flags"] == b"slave" and state[b"master-link-status"] == b"ok" for state in states):
                    return master, next(one for one in self.servers if one is not master)
            return None
        return wait_until(settled, "the sentinels to agree")

    def fail_over(self):
        """By order; the new master."""
        master, replica = self.settle()
        wait_until(lambda: accepted(self.sentinels[0]), "the order to be taken")
        wait_until(lambda: self.master() is replica, "the switch")
        return replica


def accepted(sentinel):
    with contextlib.suppress(redis.RedisError):
        return sentinel.ask("FAILOVER", MASTER)
    return False


class FakeSentinel:
    """Names the master at `port` by `epoch`; the answers are empty when port is 0, and there is none when it is None."""

    def __init__(self, port, epoch=1):
        self.master, self.epoch, self.asked, self.ends = port, epoch, 0, False
        self.listener = socket.create_server((HOST, free_port()))
        self.port = self.listener.getsockname()[1]
        self.listener.settimeout(0.1)
        self.threads = [threading.Thread(target=self.accept)]

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.ends = True
        for thread in self.threads:
            thread.join()
        self.listener.close()

    def url(self):
        return f"redis+sentinel://{HOST}:{self.port}/{MASTER}"

    def accept(self):
        while not self.ends:
            with contextlib.suppress(TimeoutError):
                connection, _ = self.listener.accept()
                connection.settimeout(0.1)
                self.threads.append(threading.Thread(target=self.serve, args=[connection]))
                self.threads[-1].start()

    def serve(self, connection):
        received = b""
        with connection, contextlib.suppress(OSError):
            while not self.ends:
                with contextlib.suppress(TimeoutError):
                    data = connection.recv(65536)
                    if not data:
                        return
                    received += data
                if b"GET-MASTER-ADDR-BY-NAME" in received and self.master is not None:
                    self.asked += 1
                    port, epoch = str(self.master).encode(), str(self.epoch).encode()
                    if self.epoch is None:
                        connection.sendall(b"-ERR Unknown sentinel subcommand 'MASTER'\r\n")
                    else:
                        connection.sendall(b"*4\r\n$4\r\nname\r\n$1\r\nx\r\n$12\r\nconfig-epoch\r\n$%d\r\n%s\r\n" % (len(epoch), epoch))
                    connection.sendall(b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n" % (len(port), port) if self.master else b"*-1\r\n")
                    received = b""
