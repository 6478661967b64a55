"""A Redis that speaks TLS at a TCP port of its own, beside its Unix socket, by which tests tell it what to do."""

from harness.gateways import free_port
from harness.logins import Authority
from harness.names import loopback
from harness.servers import Redis

NAME = "redis.test"


class TlsRedis(Redis):
    """Its certificate is for its address, ::1 and NAME."""

    def __init__(self, folder, *settings):
        self.address, self.port, self.plain_port = loopback(), free_port(), free_port()
        super().__init__(folder)
        self.authority = Authority(self.folder / "ca")
        self.certificate, self.key = self.folder / "server.crt", self.folder / "server.key"
        self.certify()
        self.settings = ("--bind", self.address, "::1", "--port", self.plain_port, "--tls-port", self.port,
                         "--tls-cert-file", self.certificate, "--tls-key-file", self.key,
                         "--tls-ca-cert-file", self.authority.certificate, "--tls-auth-clients", "no", *settings)

    def certify(self, authority=None, **rest):
        """Another certificate, which connections from now on get."""
        names = f"IP:{self.address},IP:::1,DNS:{NAME}"
        (authority or self.authority).issue(self.certificate, self.key, "redis", **{"alternative": names, **rest})
        if self.process:
            self.set("tls-cert-file", self.certificate, "tls-key-file", self.key)

    def set(self, *words):
        self.client().execute_command("CONFIG", "SET", *map(str, words))

    def cut(self):
        """All connections of others."""
        self.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def tls_url(self, login="", host=None):
        return f"rediss://{login}{host or self.address}:{self.port}"

    def options(self, **rest):
        """For a daemon that uses it."""
        return {"redis.url": self.tls_url(), "redis.ca_file": self.authority.certificate, **rest}
