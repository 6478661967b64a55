"""HTTP as bytes: what was sent is what is seen, and replies are read as RFC 9112 says."""

import json
import socket
from typing import NamedTuple


class Reply(NamedTuple):
    status: int
    fields: dict  # names in lower case
    body: bytes

    def problem(self):
        assert self.fields["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        return problem["detail"]


class HttpWire:
    def __init__(self, address):
        """`address`: a Unix socket's path, or (host, port)."""
        family = socket.AF_UNIX
        if isinstance(address, tuple):
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(60)
        self.socket.connect(address if isinstance(address, tuple) else str(address))
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self, head=False):
        line = self.file.readline()
        if not line:
            raise EOFError("the connection was closed")
        version, status, _ = line.decode().split(" ", 2)
        assert version == "HTTP/1.1", line
        fields = {}
        for line in iter(self.file.readline, b"\r\n"):
            name, value = line.decode().rstrip("\r\n").split(": ", 1)
            assert name.lower() not in fields, line
            fields[name.lower()] = value
        body = b"" if head else self.file.read(int(fields["content-length"]))
        return Reply(int(status), fields, body)

    def ended(self):
        """Whether nothing comes any more. Waits for the end."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def ask(self, path="/authorize", method="GET", fields=(), body=b""):
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body)
        return self.reply(head=method == "HEAD")

    def authorize(self, key, **rest):
        return self.ask(fields=[f"X-API-Key: {key}"], **rest)
