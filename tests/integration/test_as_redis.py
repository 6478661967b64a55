"""What clients ask of a server before their first CHECK, answered as redis-server answers it: byte for byte where
that is possible."""

import re

import pytest
from wire import Wire, command

pytestmark = pytest.mark.builds("release")

# Each is sent to both servers, one after the other on the same connection.
PROBES = [line.split() for line in """
    PING
    PING hi
    ECHO hi
    SELECT 0
    SELECT x
    SELECT 99
    AUTH any
    AUTH default any
    AUTH other any
    AUTH
    HELLO
    HELLO 4
    HELLO 1 AUTH default any
    HELLO x
    HELLO 2 AUTH other any
    HELLO 2 AUTH default
    HELLO 2 junk
    HELLO 3 AUTH default any SETNAME me
    CLIENT GETNAME
    HELLO 2 SETNAME you
    CLIENT GETNAME
    HELLO {version}
    CLIENT SETNAME me
    CLIENT SETNAME \u00e9
    CLIENT GETNAME
    CLIENT ID
    CLIENT NO-EVICT ON
    CLIENT NO-EVICT OFF
    CLIENT TRACKING OFF
    CLIENT REPLY ON
    CLIENT
    ROLE
    CLUSTER INFO
    CLUSTER SLOTS
    CLUSTER SHARDS
    CLUSTER NODES
    CLUSTER MYID
    READONLY
    READWRITE
    LATENCY LATEST
    MEMORY USAGE x
    CONFIG GET nosuch
    COMMAND INFO nosuch
    COMMAND DOCS nosuch
    SENTINEL masters
    WATCH a b
    UNWATCH
    EXEC
    DISCARD
    MULTI
    EXEC
    MULTI
    MULTI
    WATCH x
    PING
    SELECT 0
    SELECT x
    CLIENT GETNAME
    UNWATCH
    EXEC
    MULTI
    PING
    DISCARD
    PING
    MULTI
    PING
    NOSUCH x
    ECHO x
    EXEC
    MULTI
    ECHO
    EXEC
    MULTI
    HELLO 3
    HELLO 2
    EXEC
    HELLO {version}
    MULTI
    RESET
    EXEC
    CLIENT GETNAME
    QUIT
""".strip().splitlines()]
# Of these it is only the form that is the same.
FORMS = [["INFO", "server"], ["CLIENT", "INFO"], ["COMMAND", "COUNT"], ["COMMAND", "INFO", "ping", "nosuch"]]


def raw(wire):
    """One reply: its bytes up to those of its elements, and these."""
    line = wire.reader.readline()
    kind, count = line[:1], line[1:-2]
    if kind in b"$=" and count != b"-1":
        return line + wire.reader.read(int(count) + 2), []
    if kind in b"*~%":
        return line, [raw(wire) for _ in range(int(count) * (2 if kind == b"%" else 1))]
    return line, []


def joined(reply):
    line, elements = reply
    return line + b"".join(map(joined, elements))


def same(reply):
    """Without what may differ: who it is, and how an error goes on."""
    text = re.sub(rb"\$\d+\r\n(redis|apikeyd)\r\n", b"<server>", joined(reply))
    text = re.sub(rb"(version\r\n)\$\d+\r\n[\d.]+\r\n", rb"\1<version>", text)
    text = re.sub(rb"((?:^|\$2\r\nid\r\n):)\d+", rb"\1<id>", text)
    return re.sub(rb"(?<=-ERR )(unknown command|wrong number of arguments for|syntax error in hello)[^\r]*", rb"\1",
                  text, flags=re.IGNORECASE)


def without_modules(reply):
    """Redis 8 has some, which is no part of the protocol."""
    line, elements = reply
    named = [joined(element) == b"$7\r\nmodules\r\n" for element in [(b"", []), *elements]]
    return line, [(b"<modules>", []) if after_name else without_modules(element)
                  for element, after_name in zip(elements, named)]


def form(reply, depth=2):
    """The types of a reply and of its elements."""
    line, elements = reply
    return line[:1], [form(element, depth - 1) for element in elements if depth > 0]


@pytest.mark.parametrize("version", ["2", "3"])
def test_probes(daemon, redis_server, version):
    differing = []
    with Wire(daemon.check) as ours, Wire(redis_server.socket) as theirs:
        ours.send(command("MODULE", "LIST"))
        assert raw(ours) == (b"*0\r\n", [])
        for probes, what in (([["HELLO", version], *FORMS], form), (PROBES, same)):
            for probe in probes:
                replies = []
                for wire in (ours, theirs):
                    wire.send(command(*(word.format(version=version) for word in probe)))
                    replies.append(what(without_modules(raw(wire))))
                if replies[0] != replies[1]:
                    differing.append((probe, *replies))
        assert not differing
        assert ours.closed() and theirs.closed()
