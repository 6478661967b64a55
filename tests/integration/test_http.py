"""The HTTP authorizer, asked directly."""

import json
import re
import signal
import subprocess
import time
import uuid
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

import pytest
from coherence import LONG
from conftest import check, explain, flush, info
from harness.gateways import free_port
from harness.schema import deploy
from harness.servers import HANG, Apikeyd, wait_until
from http_wire import HttpWire
from wire import Wire

pytestmark = pytest.mark.builds("release", "debug", "asan")


def test_allow(db, wire):
    asked = time.time()
    reply = wire.authorize("good")
    answered = time.time()
    assert reply.status == 200 and reply.body == b""
    row = db.row("good")
    assert uuid.UUID(reply.fields["x-user-id"]) == db.user_id
    assert reply.fields["x-api-key-id"] in map(str, row)
    assert reply.fields["cache-status"].startswith("apikeyd; fwd=miss; detail=postgres; ttl=")
    assert reply.fields["vary"] == "X-API-Key"
    age = int(re.fullmatch(r"max-age=(\d+)", reply.fields["cache-control"]).group(1))
    assert 50 <= age <= 60
    assert "connection" not in reply.fields
    assert int(asked) <= parsedate_to_datetime(reply.fields["date"]).timestamp() <= answered
    again = wire.authorize("good")
    assert again.fields["cache-status"].startswith("apikeyd; hit; detail=memory; ttl=")
    assert flush(wire.daemon) == 1


@pytest.mark.parametrize("key, status, detail", [
    ("off", 403, "the key is inactive"),
    ("none", 401, "the key is unknown"),
    ("", 401, "key id is empty"),
    ("x" * 256, 503, "key id is longer than 255 bytes, and cannot be looked up"),
    ("\udcff\udcfe", 401, "key id is not valid UTF-8 text without NUL"),
    ("good%0d%0a", 401, "the key is unknown"),
    ("good,good", 401, "the key is unknown"),
])
def test_refusals(wire, key, status, detail):
    for _ in range(2):  # the connection stays
        reply = wire.authorize(key)
        assert (reply.status, reply.problem()) == (status, detail)
        assert reply.fields["cache-control"] == "no-store"
        assert ("www-authenticate" in reply.fields) == (status == 401)
        assert "x-user-id" not in reply.fields
    assert wire.authorize("good").status == 200


def test_no_key(wire):
    reply = wire.ask()
    assert (reply.status, reply.problem()) == (401, "there is no key")
    assert "www-authenticate" in reply.fields
    assert info(wire.daemon)["checks_refused"] == 1


def test_methods_and_paths(wire):
    key = ["X-API-Key: good"]
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"):
        assert wire.ask(method=method, fields=key).status == 200, method
    head = wire.ask(method="HEAD", fields=key)
    assert head.status == 200
    refused = wire.ask(method="HEAD")
    assert refused.status == 401 and int(refused.fields["content-length"]) > 0
    for path in ("/authorize/", "/authorize/v1/users?id=1", "/authorize?x=1",
                 "http://gateway/authorize"):
        assert wire.ask(path=path, fields=key).status == 200, path
    for path in ("/", "/authorized", "/Authorize", "/authorize%2f", "//authorize", "/x/../authorize"):
        assert wire.ask(path=path, fields=key).status == 404, path
    reply = wire.ask(path="/aws/authorizer", fields=key)
    assert reply.status == 405 and reply.fields["allow"] == "POST"
    assert wire.ask(path="*", method="OPTIONS", fields=key).status == 404


@pytest.mark.parametrize("name", ["x-api-key", "X-API-KEY", "X-Api-Key"])
def test_a_fields_name_has_no_case(wire, name):
    assert wire.ask(fields=[f"{name}:good"]).status == 200
    assert wire.ask(fields=[f"{name}:   good \t "]).status == 200


def test_another_header(db, serve):
    """By the deprecated name; and the same key twice is one key."""
    db.add_key("good")
    daemon, path = serve({"http.key_header": "Authorization-Key"})
    with HttpWire(path) as wire:
        assert wire.authorize("good").status == 401
        reply = wire.ask(fields=["authorization-key: good"])
        assert reply.status == 200 and reply.fields["vary"] == "Authorization-Key"
        assert wire.ask(fields=["authorization-key: good", "Authorization-Key: good "]).status == 200
    admin = daemon.admin_client()
    assert admin.config_get("http.key_from") == {"http.key_from": "header:Authorization-Key"}
    assert admin.config_get("http.key_header") == {"http.key_header": "Authorization-Key"}
    assert ("http.key_header is deprecated; its name is http.key_from now, where the value starts with header:"
            in daemon.log())


ALL_PLACES = "header:X-API-Key, bearer, basic-user, query:api_key, query:api_key@X-Original-URI, cookie:api_key"
NOT_BASE64 = "Authorization: Basic has no Base64 of user:password"
# Fields, a path, and what is answered.
PLACES = {
    "a header": (["X-API-Key: good"], "", 200), "bearer": (["Authorization: Bearer good"], "", 200),
    "another scheme, other case": (["authorization: aPIkEY   good"], "", 200),
    "basic": (["Authorization: Basic Z29vZDpwdw=="], "", 200), "query": ([], "?x=1&api_key=good", 200),
    "query, encoded": ([], "/v1?api%5Fkey=go%6fd", 200),
    "the original URI": (["X-Original-URI: /v1?api_key=good"], "", 200),
    "cookie": (["Cookie: a=b; api_key=good"], "", 200), "cookie in quotes": (['Cookie: api_key="good"'], "", 200),
    "two cookie fields": (["Cookie: a=b", "Cookie: api_key=good"], "", 200),
    "everywhere": (["X-API-Key: good", "Authorization: Bearer good", "X-Original-URI: /?api_key=good",
                    "Cookie: api_key=good"], "?api_key=good", 200),
    "inactive": (["Authorization: Bearer off"], "", 403), "unknown": ([], "?api_key=none", 401),
    "another scheme": (["Authorization: Digest good"], "", 401), "no scheme": (["Authorization: good"], "", 401),
    "a scheme and no key": (["Authorization: Bearer"], "", 401), "an empty parameter": ([], "?api_key", 401),
    "an empty user": (["Authorization: Basic OnB3"], "", 401), "an empty cookie": (["Cookie: api_key="], "", 401),
    "another parameter": ([], "?API_KEY=good&apikey=good", 401), "a plus is a blank": ([], "?api_key=go+od", 401),
    "decoded once": ([], "?api_key=go%256fd", 401), "NUL": ([], "?api_key=good%00", 401),
    "no UTF-8": ([], "?api_key=%ff", 401), "too long": ([], "?api_key=" + "x" * 256, 503),
    "two parameters": ([], "?api_key=good&api_key=none", 400), "a parameter and none": ([], "?api_key&api_key=good", 400),
    "a header and a cookie": (["X-API-Key: good", "Cookie: api_key=none"], "", 400),
    "a cookie and a header": (["X-API-Key: none", "Cookie: api_key=good"], "", 400),
    "two schemes": (["Authorization: Bearer good", "Authorization: Basic bm9uZTpwdw=="], "", 400),
    "two URIs": (["X-Original-URI: /?api_key=good", "X-Original-URI: /"], "", 400),
    "two targets": (["X-Original-URI: /?api_key=good"], "?api_key=none", 400),
    "half an escape": ([], "?api_key=good%4", 400), "no base64": (["Authorization: Basic ?"], "", 400),
    "basic without a colon": (["Authorization: Basic Z29vZA=="], "", 400),
    "basic without padding": (["Authorization: Basic Z29vZDpwdw"], "", 400),
    "half a pair of quotes": (['Cookie: api_key="good'], "", 400),
}


def test_where_the_key_stands(db, serve):
    db.add_key("good")
    db.add_key("off", active=False)
    daemon, path = serve({"http.key_from": ALL_PLACES})
    with HttpWire(path) as wire:
        for name, (fields, rest, status) in PLACES.items():
            reply = wire.ask(fields=fields, path=f"/authorize{rest}")
            assert reply.status == status, name
            if status == 200:
                assert reply.fields["vary"] == "X-API-Key, Authorization, X-Original-URI, Cookie"
            if status == 401:
                assert reply.fields["www-authenticate"] == \
                    'ApiKey realm="api", Bearer realm="api", Basic realm="api"', name
        assert wire.ask(fields=["Authorization: Basic ?"]).problem() == NOT_BASE64
        assert wire.authorize("off").problem() == "the key is inactive"
        refused = info(daemon)["http_requests_refused"]
        # A place that is not listed does not count; a reload lists others.
        daemon.options.update({"http.key_from": "bearer", "http.inactive_status": "401"})
        daemon.write_config()
        assert daemon.admin_client().execute_command("RELOAD") == "OK"
        reply = wire.ask(fields=["Authorization: Bearer off", "X-API-Key: good"], path="/authorize?api_key=good")
        assert (reply.status, reply.problem()) == (401, "the key is inactive")
        assert reply.fields["www-authenticate"] == 'ApiKey realm="api", Bearer realm="api"'
        assert wire.authorize("good").status == 401
        assert info(daemon)["http_requests_refused"] == refused


def test_preflights(db, serve):
    """Only a request that is one, and only without a key."""
    db.add_key("good")
    daemon, path = serve()
    origin, method = "Origin: https://app.example", "Access-Control-Request-Method: PUT"
    with HttpWire(path) as wire:
        assert wire.ask(method="OPTIONS", fields=[origin, method]).status == 401
        daemon.options["http.preflight"] = "allow"
        daemon.write_config()
        assert daemon.admin_client().execute_command("RELOAD") == "OK"
        reply = wire.ask(method="OPTIONS", fields=[origin, method])
        assert reply.status == 200 and reply.fields["cache-control"] == "no-store"
        assert reply.fields["x-user-id"] == reply.fields["x-api-key-id"] == ""  # instead of a client's own
        assert info(daemon)["http_preflights"] == 1
        for verb, fields in (("OPTIONS", [origin]), ("OPTIONS", [method]), ("GET", [origin, method]),
                             ("PUT", [origin, method, "X-Forwarded-Method: OPTIONS"]),
                             ("OPTIONS", [origin, method, "X-API-Key: none"]),
                             ("OPTIONS", [origin, method, "X-API-Key:"])):
            assert wire.ask(method=verb, fields=fields).status == 401, fields
        reply = wire.ask(method="OPTIONS", fields=[origin, method, "X-API-Key: good"])
        assert reply.fields["x-user-id"] == str(db.user_id)
        assert info(daemon)["http_preflights"] == 1


def test_pipeline(wire):
    """Replies come in the order of the requests, hits and misses mixed."""
    wire.send(b"".join(b"GET /authorize HTTP/1.1\r\nHost: g\r\nX-API-Key: %s\r\n\r\n" % key
                       for key in (b"good", b"none", b"good", b"off", b"") * 200))
    assert [wire.reply().status for _ in range(1000)] == [200, 401, 200, 403, 401] * 200


def test_byte_by_byte(wire):
    request = b"\r\nGET /authorize HTTP/1.1\r\nHost: g\r\nX-API-Key: good\r\n\r\n"
    for i in range(len(request)):
        wire.send(request[i:i + 1])
    assert wire.reply().status == 200
    assert wire.authorize("good").status == 200


def test_the_connection_ends_when_it_should(db, serve):
    db.add_key("good")
    _, path = serve()
    with HttpWire(path) as wire:
        reply = wire.authorize("good", method="GET")
        assert "connection" not in reply.fields
        reply = wire.ask(fields=["X-API-Key: good", "Connection: close"])
        assert reply.status == 200 and reply.fields["connection"] == "close" and wire.ended()
    with HttpWire(path) as wire:
        wire.send(b"GET /authorize HTTP/1.0\r\nX-API-Key: good\r\n\r\n")
        assert wire.reply().status == 200 and wire.ended()
    with HttpWire(path) as wire:
        for _ in range(2):
            wire.send(b"GET /authorize HTTP/1.0\r\nX-API-Key: good\r\nConnection: keep-alive\r\n\r\n")
            reply = wire.reply()
            assert reply.status == 200 and reply.fields["connection"] == "keep-alive"


def test_a_body_is_not_waited_for(wire):
    """One that has come whole is passed over; otherwise the connection ends after the answer."""
    assert wire.ask(method="POST", fields=["X-API-Key: good"], body=b"GET / HTTP/1.1\r\n\r\n" * 50).status == 200
    assert wire.authorize("good").status == 200
    wire.send(b"POST /authorize HTTP/1.1\r\nHost: g\r\nX-API-Key: good\r\nContent-Length: 1000000\r\n\r\n")
    reply = wire.reply()
    assert reply.status == 200 and reply.fields["connection"] == "close" and wire.ended()


def test_a_chunked_body_ends_the_connection(wire):
    wire.send(b"POST /authorize HTTP/1.1\r\nHost: g\r\nX-API-Key: good\r\n"
              b"Transfer-Encoding: chunked\r\n\r\n"
              b"0\r\n\r\nGET /authorize HTTP/1.1\r\nHost: g\r\nX-API-Key: good\r\n\r\n")
    reply = wire.reply()
    assert reply.status == 200 and reply.fields["connection"] == "close" and wire.ended()


KEY = b"X-API-Key: good\r\n"
REQUEST = b"GET /authorize HTTP/1.1\r\nHost: g\r\n"
SMUGGLED = REQUEST + KEY + b"\r\n"
HOSTILE = {
    "length and coding": REQUEST + KEY + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": REQUEST + KEY + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "empty coding and length": REQUEST + KEY + b"Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello",
    "two lengths": REQUEST + KEY + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "length with a sign": REQUEST + KEY + b"Content-Length: +5\r\n\r\nhello",
    "length in hex": REQUEST + KEY + b"Content-Length: 0x5\r\n\r\nhello",
    "negative length": REQUEST + KEY + b"Content-Length: -1\r\n\r\n",
    "length too large": REQUEST + KEY + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "two keys": REQUEST + KEY + b"X-API-Key: none\r\n\r\n",
    "a key and none": REQUEST + KEY + b"X-API-Key:\r\n\r\n",
    "a coding of HTTP/1.0": b"GET /authorize HTTP/1.0\r\n" + KEY + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two keys in other case": REQUEST + b"x-api-key: none\r\n" + KEY + b"\r\n",
    "folded key": REQUEST + b"X-API-Key: go\r\n od\r\n\r\n",
    "key on the next line": REQUEST + b"X-API-Key:\r\n good\r\n\r\n",
    "Icecast": b"SOURCE /authorize ICE/1.0\r\nHost: g\r\n" + KEY + b"\r\n",
    "RTSP": b"GET /authorize RTSP/1.0\r\nHost: g\r\n" + KEY + b"\r\n",
    "empty length": REQUEST + KEY + b"Content-Length:\r\n\r\n",
    "list of lengths": REQUEST + KEY + b"Content-Length: 5, 5\r\n\r\nhello",
    "carriage returns only": b"GET /authorize HTTP/1.1\rHost: g\r" + KEY + b"\r\r",
    "key behind a carriage return": REQUEST + b"X-Other:\rZX-API-Key: good\r\n\r\n",
    "blank line of a carriage return": REQUEST + KEY + b"\rX\r\n\r\n",
    "blank line of line feeds": b"GET /authorize HTTP/1.1\n\nHost: g\r\n" + KEY + b"\r\n",
    "tabs between": b"GET\t/authorize\tHTTP/1.1\r\nHost: g\r\n" + KEY + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "folded before a key": REQUEST + b"X-Other: a\r\n\tX-API-Key: good\r\n\r\n",
    "carriage return in the key": REQUEST + b"X-API-Key: good\rX: y\r\n\r\n",
    "NUL in the key": REQUEST + b"X-API-Key: good\0\r\n\r\n",
    "blank before the colon": REQUEST + b"X-API-Key : good\r\n\r\n",
    "blank in the name": REQUEST + b"X API-Key: good\r\n\r\n",
    "no name": REQUEST + b": good\r\n" + KEY + b"\r\n",
    "no colon": REQUEST + b"X-API-Key\r\n" + KEY + b"\r\n",
    "no host": b"GET /authorize HTTP/1.1\r\n" + KEY + b"\r\n",
    "two hosts": REQUEST + b"Host: h\r\n" + KEY + b"\r\n",
    "no version": b"GET /authorize\r\n" + KEY + b"\r\n",
    "another version": b"GET /authorize HTTP/2.0\r\nHost: g\r\n" + KEY + b"\r\n",
    "no method": b" /authorize HTTP/1.1\r\nHost: g\r\n" + KEY + b"\r\n",
    "unknown method": b"FETCH /authorize HTTP/1.1\r\nHost: g\r\n" + KEY + b"\r\n",
    "key in the target": b"GET /authorize\r\nX-API-Key: good HTTP/1.1\r\nHost: g\r\n\r\n",
    "CONNECT": b"CONNECT g:80 HTTP/1.1\r\nHost: g\r\n" + KEY + b"\r\n",
    "TLS": bytes.fromhex("16030100c2010000be0303") + b"x" * 200,
    "RESP": b"*2\r\n$5\r\nCHECK\r\n$4\r\ngood\r\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_are_never_allowed(wire, name):
    """Nor is a request behind them, that a gateway might have taken for their body."""
    wire.send(HOSTILE[name])
    reply = wire.reply()
    assert reply.status in (400, 404), reply
    detail = reply.problem()
    assert "good" not in detail
    if reply.status == 400 and "more than one key" not in detail:
        assert reply.fields["connection"] == "close" and wire.ended()
        assert info(wire.daemon)["http_requests_refused"] == 1
    assert info(wire.daemon)["checks_allow"] == 0


def test_a_client_that_waits_before_it_sends_a_body(wire):
    """Nobody needs the body of a question; an event is asked for, once."""
    head = b"POST %s HTTP/1.1\r\nHost: g\r\nX-API-Key: good\r\nContent-Length: %d\r\nExpect: 100-Continue\r\n\r\n"
    event = b'{"type":"TOKEN","authorizationToken":"good","methodArn":"arn:aws:execute-api:r:1:a/s/GET/"}'
    wire.send(head % (b"/aws/authorizer", len(event)))
    assert wire.file.readline() + wire.file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(event[:10])
    wire.send(event[10:])
    assert wire.reply().status == 200
    wire.send(head % (b"/aws/authorizer", len(event)) + event)
    assert wire.reply().status == 200
    wire.send(b"POST /aws/authorizer HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
              % len(event))
    wire.send(event)
    assert wire.reply().status == 200
    wire.send(head % (b"/aws/authorizer", 70000))
    assert wire.reply().status == 413 and wire.ended()
    with HttpWire(wire.path) as other:
        other.send(head % (b"/authorize", 1000))
        reply = other.reply()
        assert reply.status == 200 and reply.fields["connection"] == "close" and other.ended()


@pytest.mark.parametrize("name", ["length and coding", "two lengths", "TLS"])
def test_nothing_behind_a_broken_request_is_read(wire, name):
    wire.send(HOSTILE[name] + SMUGGLED)
    assert wire.reply().status == 400 and wire.ended()
    assert info(wire.daemon)["checks_allow"] == 0


def test_an_upgrade_is_none(wire):
    """What follows is the next request, as the answer says by not being 101."""
    for upgrade in (b"websocket", b"h2c"):
        wire.send(REQUEST + KEY + b"Connection: upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n"
                  + REQUEST + b"X-API-Key: none\r\n\r\n")
        assert [wire.reply().status, wire.reply().status] == [200, 401]


def test_a_coding_that_is_not_known(wire):
    wire.send(REQUEST + KEY + b"Transfer-Encoding: gzip\r\n\r\n" + SMUGGLED)
    reply = wire.reply()
    assert reply.status in (200, 400, 501) and reply.fields["connection"] == "close" and wire.ended()


def test_a_head_of_64_kib_at_most(wire):
    wire.ask(fields=["X-API-Key: good", "Cookie: " + "c" * 60000])
    wire.send(REQUEST + KEY + b"Cookie: " + b"c" * 70000)
    reply = wire.reply()
    assert reply.status == 431 and wire.ended()


@pytest.mark.slow
@pytest.mark.parametrize("start_of_request", [
    b"", b"GET /", SMUGGLED + b"GET /auth",
    b"POST /aws/authorizer HTTP/1.1\r\nHost: g\r\nContent-Length: 9999\r\n\r\n{"])
def test_slow_clients_are_cut_off(db, serve, start_of_request):
    """Who sends a byte now and then too; who has sent nothing unfinished stays."""
    db.add_key("good")
    daemon, path = serve({"http.timeout": "1s"})
    with HttpWire(path) as slow, HttpWire(path) as idle:
        assert idle.authorize("good").status == 200
        begin = time.monotonic()
        slow.send(start_of_request)
        if start_of_request.startswith(REQUEST):
            assert slow.reply().status == 200
        with pytest.raises(OSError):
            while time.monotonic() - begin < HANG:
                if start_of_request:
                    slow.send(b"x")
                elif slow.ended():
                    raise ConnectionResetError
                time.sleep(0.1)
        assert time.monotonic() - begin >= 0.9
        assert info(daemon)["connections_cut_off"] == 1
        assert idle.authorize("good").status == 200


@pytest.mark.slow
def test_who_does_not_take_replies_is_cut_off(db, serve):
    db.add_key("good")
    daemon, path = serve({"http.timeout": "1s"})
    with HttpWire(path) as deaf:
        deaf.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                deaf.socket.send(SMUGGLED * 100)
        wait_until(lambda: info(daemon)["connections_cut_off"] == 1, "the end")


def test_unavailable_is_not_a_refusal(db, postgres, serve):
    db.add_key("cached")
    db.add_key("other")
    daemon, path = serve({"redis.url": "", "cache.ttl_unlinked": "200ms", "postgres.timeout": "5s"})
    with HttpWire(path) as wire:
        assert wire.authorize("cached").status == 200
        postgres.stop()
        reply = wire.authorize("other")
        assert reply.status == 503 and reply.fields["retry-after"] == "1"
        assert reply.fields["cache-status"] == "apikeyd; fwd=miss; detail=unavailable"
        assert reply.problem().startswith("postgres")
        wait_until(lambda: "detail=stale" in wire.authorize("cached").fields["cache-status"], "stale")
        reply = wire.authorize("cached")
        assert reply.status == 200 and reply.fields["cache-control"] == "max-age=0"
        assert re.search(r"ttl=(-\d+|0)$", reply.fields["cache-status"])


@pytest.mark.slow
def test_max_age_is_what_is_left(db, serve):
    db.add_key("good")
    _, path = serve({"cache.ttl": "10s"})
    with HttpWire(path) as wire:
        def max_age():
            return int(wire.authorize("good").fields["cache-control"].split("=")[1])

        asked = time.monotonic()
        first = max_age()
        answered = time.monotonic()
        assert 9 - (answered - asked) <= first <= 10
        time.sleep(2)
        later = time.monotonic()
        second = max_age()
        assert 9 - (time.monotonic() - asked) <= second <= 10 - (later - answered)


def test_revoked(db, serve):
    db.add_key("good")
    daemon, path = serve(LONG)
    with HttpWire(path) as wire:
        assert wire.authorize("good").status == 200
        db.set_active("good", False)
        wait_until(lambda: wire.authorize("good").status == 403, "the revocation")
        assert explain(daemon, "good")["verdict"] == "DENY inactive"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_over_tcp(db, start, host):
    db.add_key("good")
    port = free_port()
    try:
        daemon = start({"listen.http": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"})
    except RuntimeError as error:
        if host == "::1" and "Cannot assign requested address" in str(error):
            pytest.skip("this machine has no IPv6")
        raise
    with HttpWire((host, port)) as wire:
        assert wire.authorize("good").status == 200
    assert check(daemon.client(), "good")[0] == "ALLOW"
    # The same port, while connections of before linger.
    daemon.terminate()
    assert daemon.wait_end() == 0
    daemon.launch()
    wait_until(lambda: daemon.log().count("change feed is up") == 2, "the second start")
    with HttpWire((host, port)) as wire:
        assert wire.authorize("good").status == 200


@pytest.mark.parametrize("address", ["localhost:80", "127.0.0.1", "127.0.0.1:0", "nonsense"])
def test_addresses_that_are_none(db, scratch, address):
    daemon = Apikeyd(scratch / f"{db.name}.none", {"listen.http": address, "postgres.dsn": db.dsn})
    with pytest.raises(RuntimeError, match="or a numeric address and a port"):
        daemon.start()
    assert not daemon.check.exists()


def test_curl(db, serve):
    """A client of everybody's, on the Unix socket: as in docs/gateways.md."""
    db.add_key("good")
    _, path = serve()
    said = subprocess.run(["curl", "-si", "--unix-socket", path, "-H", "X-API-Key: good",
                           "http://apikeyd/authorize", "http://apikeyd/authorize"],
                          capture_output=True, text=True, check=True).stdout
    assert said.count("HTTP/1.1 200 OK") == 2 and said.count(str(db.user_id)) == 2


def test_who_may_connect(serve):
    daemon, path = serve({"listen.allow_uids": "12345"}, settled=False, wait=False)
    daemon.write_config()
    daemon.launch()
    wait_until(lambda: "change feed is up" in daemon.log(), "the start")
    with HttpWire(path) as wire:
        reply = wire.reply()
        assert reply.status == 503 and wire.ended()
        assert b"allow_uids" in reply.body


def test_max_connections(db, serve):
    db.add_key("good")
    daemon, path = serve({"listen.max_connections": "3"})
    with Wire(daemon.admin) as operator:
        wait_until(lambda: b"connected_clients:1\r" in operator.ask("INFO"), "the harness's own to be gone")
        one, two, three = (HttpWire(path) for _ in range(3))
        assert one.authorize("good").status == 200
        assert two.authorize("good").status == 200
        assert three.reply().status == 503 and three.ended()
        for wire in (one, two, three):
            wire.close()
    assert info(daemon)["connections_refused_full"] == 1


def test_a_stop_answers_what_is_in_flight(db, serve):
    """The lookup waits behind a lock while the daemon is told to stop."""
    db.add_key("good")
    daemon, path = serve({"postgres.timeout": "20s", "listen.drain_timeout": "60s", "redis.url": ""})
    with db.connect(autocommit=False) as lock, HttpWire(path) as wire:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        wire.send(SMUGGLED)
        wait_until(lambda: info(daemon)["lookups_pending"] == 1, "the lookup")
        daemon.process.send(signal.SIGTERM)
        time.sleep(0.2)
        lock.rollback()
        assert wire.reply().status == 200 and wire.ended()
    assert daemon.wait_end() == 0
    assert not path.exists()


def test_clients_that_go_away(db, serve):
    """With lookups in flight, over and over."""
    db.add_key("good")
    daemon, path = serve({"postgres.timeout": "20s", "redis.url": ""})
    event = b'{"type":"TOKEN","authorizationToken":"k","methodArn":"arn:aws:execute-api:r:1:a/s/GET/"}'
    with db.connect(autocommit=False) as lock:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        for i in range(200):
            with HttpWire(path) as wire:
                wire.send(REQUEST + b"X-API-Key: key-%d\r\n\r\n" % i)
                wire.send(b"POST /aws/authorizer HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n%s"
                          % (len(event), event))
        lock.rollback()
    wait_until(lambda: info(daemon)["lookups_pending"] == 0, "the lookups")
    with HttpWire(path) as wire:
        assert wire.authorize("good").status == 200


def test_no_key_is_logged_or_told(db, serve):
    daemon, path = serve({"log.level": "debug"})
    with HttpWire(path) as wire:
        wire.authorize("very-secret-key")
        wire.send(b"GET /authorize HTTP/1.1\r\nX-API-Key: very-secret-key\r\n\r\n")
        wire.reply()
    assert "very-secret" not in daemon.log()


@pytest.mark.slow
def test_a_client_that_makes_progress_is_not_cut_off(db, serve):
    """Requests that never end where a read does, and replies taken slowly: for longer than the time-out."""
    db.add_key("good")
    daemon, path = serve({"http.timeout": "3s"})
    with HttpWire(path) as wire:
        wire.send(REQUEST)
        begin = time.monotonic()
        while time.monotonic() - begin < 4.5:
            time.sleep(0.1)
            wire.send(KEY + b"\r\n" + REQUEST)
            assert wire.reply().status == 200
    assert info(daemon)["connections_cut_off"] == 0


@pytest.mark.slow
def test_waiting_for_us_costs_the_client_nothing(db, serve):
    """More requests than may be under way; what is unread for our sake is no fault of theirs."""
    db.add_key("good")
    daemon, path = serve({"http.timeout": "300ms", "redis.url": ""})
    with db.connect(autocommit=False) as lock, HttpWire(path) as wire:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        wire.send(SMUGGLED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"GET /more")
        wait_until(lambda: info(daemon)["lookups_pending"] == 1, "the lookup")
        time.sleep(1.5)
        lock.rollback()
        assert wire.reply().status == 200 and wire.ended()


def test_empty_lines_are_no_request(serve):
    daemon, path = serve({"http.timeout": "500ms"})
    with HttpWire(path) as wire:
        begin = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - begin < HANG:
                wire.send(b"\r\n")
                time.sleep(0.05)
        assert info(daemon)["connections_cut_off"] == 1


def test_a_refusal_arrives_though_more_was_sent(db, serve):
    """Over TCP, where closing with bytes unread resets the connection."""
    port = free_port()
    daemon, _ = serve({"listen.http": f"127.0.0.1:{port}"})
    for _ in range(20):
        with HttpWire(("127.0.0.1", port)) as wire:
            wire.send(b"POST /aws/authorizer HTTP/1.1\r\nHost: g\r\nContent-Length: 3000000\r\n\r\n")
            for _ in range(30):
                wire.send(b"x" * 100000)
            reply = wire.reply()
            assert reply.status == 413 and "64 KiB" in reply.problem()
    wait_until(lambda: info(daemon)["connected_clients"] == 1, "the connections to go")


def test_who_stays_after_the_end_is_cut_off(serve):
    daemon, path = serve({"http.timeout": "500ms"})
    with HttpWire(path) as wire:
        wire.send(b"nonsense\r\n\r\n")
        assert wire.reply().status == 400 and wire.ended()
        wait_until(lambda: info(daemon)["connected_clients"] == 1, "the end")


def test_a_stop_does_not_wait_for_who_lingers(serve):
    daemon, path = serve({"http.timeout": "1h", "listen.drain_timeout": "1m"})
    with HttpWire(path) as wire:
        wire.send(b"nonsense\r\n\r\n")
        assert wire.reply().status == 400
        begin = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - begin < 20


def test_a_key_that_is_missing_is_counted_once(db, wire):
    assert wire.ask().status == 401
    counts = info(wire.daemon)
    assert (counts["checks_refused"], counts["http_requests_refused"]) == (1, 0)


def test_attributes(db, serve):
    """Each column has a field, whatever the key has: decoded it is the value, and a client's own is never all there is.
    A Lambda authorizer's context has those that the key has, as strings."""
    names = ["plan", "rate_limit", "Größe"]
    fields = ["x-api-key-plan", "x-api-key-rate-limit", "x-api-key-gr----e"]
    db.run('ALTER TABLE api.user_api_key ADD plan text, ADD rate_limit int, ADD "Größe" text[]')
    deploy(db.admin_dsn, attribute_columns=", ".join(names))
    cases = {"all": {"plan": "gold", "rate_limit": "10", "Größe": "read write"},
             "odd": {"plan": " 50% off,\t\"grün\"\r\nX-User-Id: forged\x7f ", "Größe": ""},
             "long": {"plan": "é" * 127, "Größe": "x"}, "none": {}}
    for key, values in cases.items():
        columns = dict(values)
        if "Größe" in columns:
            columns["Größe"] = columns["Größe"].split()
        db.add_key(key, **{f'"{name}"' if name == "Größe" else name: value for name, value in columns.items()})
    db.add_key("off", active=False, plan="gold")
    daemon, path = serve({**LONG, "postgres.attribute_columns": ", ".join(names), "http.preflight": "allow"})
    with HttpWire(path) as wire:
        for again in range(2):
            for key, values in cases.items():
                reply = wire.ask(fields=[f"X-API-Key: {key}", "X-Api-Key-Plan: forged"])
                assert reply.status == 200 and reply.fields["x-user-id"] == str(db.user_id)
                assert [unquote(reply.fields[field]) for field in fields] == [values.get(name, "") for name in names], key
                assert all(re.fullmatch(r"([!-$&-~]|%[0-9A-F]{2})?([ -$&-~]|%[0-9A-F]{2})*(?<! )", reply.fields[field])
                           for field in fields)
                assert again == 0 or "detail=memory" in reply.fields["cache-status"]
        assert reply.fields["x-api-key-plan"] == ""
        reply = wire.ask(method="OPTIONS", fields=["Origin: https://a.example", "Access-Control-Request-Method: PUT"])
        assert reply.status == 200 and [reply.fields[field] for field in ["x-user-id", *fields]] == [""] * 4
        assert not set(fields) & set(wire.authorize("off").fields)
        for key, values in cases.items():
            for event in ({"type": "TOKEN", "authorizationToken": key, "methodArn": "arn:aws:execute-api:r:1:a/s/GET/"},
                          {"version": "2.0", "type": "REQUEST", "requestContext": {}, "headers": {"x-api-key": key}}):
                given = json.loads(wire.ask("/aws/authorizer", "POST", [], json.dumps(event).encode()).body)
                assert given["context"].pop("userId") == str(db.user_id) and given["context"].pop("apiKeyId")
                assert given["context"] == values, key
        event = {"type": "TOKEN", "authorizationToken": "off", "methodArn": "arn:aws:execute-api:r:1:a/s/GET/"}
        given = json.loads(wire.ask("/aws/authorizer", "POST", [], json.dumps(event).encode()).body)
        assert given["context"] == {"reason": "inactive"}
    counts, status = info(daemon), json.loads(daemon.admin_client().execute_command("STATUS"))
    assert counts["attributes_left_out"] == 0 and counts["attribute_used_bytes"] > 0
    assert status["cache"]["attribute_used_bytes"] == counts["attribute_used_bytes"]
