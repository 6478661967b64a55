"""Real gateways with the example files, an application behind them."""

import contextlib
import http.client
import json
import re
import socket
import time
import uuid

import pytest
from coherence import LONG
from conftest import info
from harness.gateways import GATEWAYS, Application, Nginx, NginxPlans
from harness.schema import deploy
from harness.servers import ROOT, wait_until
from wire import Wire

pytestmark = [pytest.mark.slow, pytest.mark.builds("release"),
              pytest.mark.needs("nginx", "libnginx-mod-http-lua", "lua-nginx-redis", "caddy", "haproxy")]

FORGED = {"X-User-Id": "00000000-0000-0000-0000-00000000bad0", "x-user-id": "forged",
          "X-Api-Key-Id": "forged"}


# Those that ask over HTTP: where the key stands, and what a preflight is, the others decide in their own configuration.
over_http = pytest.mark.parametrize("behind", [name for name in GATEWAYS if name != "nginx-lua"], indirect=True)


class Seen:
    """A gateway's answer, and the request that the application saw, if it saw one."""

    def __init__(self, behind, reply, body):
        self.status = reply.status
        self.fields = {name.lower(): value for name, value in reply.getheaders()}
        self.reached = behind.application.requests > behind.before
        self.request = json.loads(body) if self.reached else []

    def values(self, name):
        return [value for field, value in self.request if field == name]


class Behind:
    def __init__(self, gateway, application, daemon):
        self.gateway, self.application, self.daemon = gateway, application, daemon
        self.before = 0

    def ask(self, key=None, path="/", method="GET", headers=(), body=None):
        fields = dict(headers)
        if key is not None:
            fields["X-API-Key"] = key
        self.before = self.application.requests
        client = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=60)
        client.request(method, path, body=body, headers=fields)
        reply = client.getresponse()
        seen = Seen(self, reply, reply.read())
        client.close()
        return seen

    def ask_raw(self, *lines, method="GET"):
        """With fields as they are, also several of one name."""
        self.before = self.application.requests
        with socket.create_connection(("127.0.0.1", self.gateway.port), 60) as client:
            client.sendall("\r\n".join([f"{method} / HTTP/1.1", "Host: g", *lines, "", ""]).encode())
            reply = http.client.HTTPResponse(client, method=method)
            reply.begin()
            return Seen(self, reply, reply.read())


@pytest.fixture(scope="module")
def application():
    server = Application()
    yield server
    server.stop()


@pytest.fixture(params=GATEWAYS)
def behind(request, scratch, db, start, application):
    """behind({options}): the gateway in front of a daemon that has these."""
    gateways = []

    def run(options=None, cors=False):
        folder = scratch / f"{db.name}-{request.param}"
        daemon = start({"listen.http": folder.with_suffix(".sock"), **(options or {})})
        gateways.append(GATEWAYS[request.param](folder, daemon.options["listen.http"],
                                                application.port, daemon.check, cors))
        return Behind(gateways[-1], application, daemon)

    yield run
    for gateway in gateways:
        gateway.stop()


def test_the_eight_cases(db, postgres, behind):
    db.add_key("good")
    db.add_key("off", active=False)
    db.add_key("cold")
    gateway = behind({"redis.url": "", "cache.ttl_unlinked": "500ms", "postgres.timeout": "5s"})

    # active
    seen = gateway.ask("good", headers=FORGED)
    assert seen.status == 200
    assert seen.values("x-user-id") == [str(db.user_id)]
    assert seen.values("x-api-key-id") == [str(db.one("SELECT api_key_id FROM api.user_api_key "
                                                      "WHERE key_id = 'good'"))]
    assert seen.values("x-api-key") == []
    # inactive, unknown, missing, empty, over-long
    for key, status in (("off", 403), ("none", 401), (None, 401), ("", 401), ("x" * 300, 503)):
        seen = gateway.ask(key, headers=FORGED)
        assert (seen.status, seen.reached) == (status, False), key
        assert ("www-authenticate" in seen.fields) == (status == 401)
    # PostgreSQL is down, and the key is cached; and it is not
    postgres.stop()
    assert gateway.ask("good").values("x-user-id") == [str(db.user_id)]
    for _ in range(3):
        seen = gateway.ask("cold", headers=FORGED)
        assert (seen.status, seen.reached) == (503, False)
        assert seen.fields["retry-after"] == "1"
    wait_until(lambda: info(gateway.daemon)["postgres_connections_up"] == 0, "the loss")
    time.sleep(1)
    assert gateway.ask("good").status == 200


class Readme(Nginx):
    """nginx with the lines that README.md shows."""

    def place(self, example, text=None):
        shown = re.search(r"^ {4}server \{\n.*?^ {4}\}\n", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
        return super().place(example, shown[0])


def test_the_readme(db, scratch, start, application):
    db.add_key("good")
    db.add_key("off", active=False)
    daemon = start({"listen.http": scratch / f"{db.name}-readme.sock"})
    nginx = Readme(scratch / f"{db.name}-readme", daemon.options["listen.http"], application.port)
    try:
        behind = Behind(nginx, application, daemon)
        seen = behind.ask("good", headers=FORGED, method="POST", body=b"text")
        assert (seen.status, seen.values("x-user-id"), seen.values("x-api-key-id")) == (200, [str(db.user_id)], [])
        for key, status in (("off", 403), ("none", 401), (None, 401)):
            seen = behind.ask(key, headers=FORGED)
            assert (seen.status, seen.reached) == (status, False), key
    finally:
        nginx.stop()


def test_limits_by_plan(db, scratch, start, application):
    """Each key has the limit of its plan, whatever plan it says that it has."""
    db.run("ALTER TABLE api.user_api_key ADD plan text")
    deploy(db.admin_dsn, attribute_columns="plan")
    plans = {"gold": "gold", "free": "free", "other": "free", "none": None, "odd": " 50% gr\u00fcn\r\nX-User-Id: forged"}
    for key, plan in plans.items():
        db.add_key(key, plan=plan)
    db.add_key("off", plan="gold", active=False)
    daemon = start({"listen.http": scratch / f"{db.name}-plans.sock", "postgres.attribute_columns": "plan"})
    nginx = NginxPlans(scratch / f"{db.name}-plans", daemon.options["listen.http"], application.port)
    haproxy = GATEWAYS["haproxy"](scratch / f"{db.name}-haproxy", daemon.options["listen.http"], application.port)
    try:
        gateway = Behind(nginx, application, daemon)
        seen_plan = {**{key: [plan] for key, plan in plans.items()}, "none": [],
                     "odd": ["%2050%25 gr%C3%BCn%0D%0AX-User-Id: forged"]}
        for key, plan in seen_plan.items():
            forged = [f"{name}: gold" for name in spellings("X-Api-Key-Plan")]
            seen = gateway.ask_raw(f"X-API-Key: {key}", *forged, *forged)
            assert (seen.status, seen.values("x-api-key-plan")) == (200, plan), key
            assert [name.replace("_", "-") for name, _ in seen.request].count("x-api-key-plan") == len(plan)
            assert seen.values("x-user-id") == [str(db.user_id)]
        for key, plan in seen_plan.items():  # HAProxy's example passes on what there is
            seen = Behind(haproxy, application, daemon).ask(key, headers={"X-Api-Key-Plan": "gold", "X-Api-Key-Scopes": "all"})
            assert (seen.status, seen.values("x-api-key-plan"), seen.values("x-api-key-scopes")) == (200, plan, []), key
        for key, status in (("off", 403), ("made-up", 401), (None, 401)):
            for _ in range(10):
                seen = gateway.ask(key, headers={"X-Api-Key-Plan": "gold", "X-Api-Key-Id": "forged"})
                assert (seen.status, seen.reached) == (status, False), key
        limited = wait_until(lambda: [seen for seen in [gateway.ask("free", headers={"X-Api-Key-Plan": "gold"})]
                                      if seen.status != 200], "the limit")[0]
        assert (limited.status, limited.reached, limited.fields["retry-after"]) == (429, False, "1")
        assert gateway.ask("other").status == 200, "each key has its own"
        for _ in range(20):
            assert gateway.ask("gold").status == 200
        assert gateway.ask("gold", path="/fails").status == 500, "the application's own"
        daemon.process.pause()
        assert gateway.ask("gold").status == 503
        daemon.process.resume()
    finally:
        nginx.stop()
        haproxy.stop()


def test_no_apikeyd(db, behind):
    """It takes no more connections, or has gone: nobody can tell, which is no refusal, and no yes."""
    db.add_key("good")
    gateway = behind({"listen.max_connections": "7"})
    wait_until(lambda: info(gateway.daemon)["connected_clients"] == 1, "the harness's probes to be gone")
    with contextlib.ExitStack() as crowd:
        for _ in range(7):
            assert crowd.enter_context(Wire(gateway.daemon.check)).ask("PING") == b"PONG"
        for _ in range(20):  # it has hung up before the question, or after
            seen = gateway.ask("good")
            assert (seen.status, seen.reached) == (503, False)
            assert seen.fields["retry-after"] == "1"
    wait_until(lambda: gateway.ask("good").status == 200, "room")
    gateway.daemon.terminate()
    assert gateway.daemon.wait_end() == 0
    seen = gateway.ask("good")
    assert (seen.status, seen.reached) == (503, False)
    assert seen.fields["retry-after"] == "1"
    gateway.daemon.launch()
    wait_until(lambda: gateway.ask("good").status == 200, "the daemon")


def test_two_keys(db, behind):
    """Two fields are one request that can be read in two ways."""
    db.add_key("good")
    gateway = behind()
    for first, second in (("good", "none"), ("none", "good")):
        seen = gateway.ask_raw(f"X-API-Key: {first}", f"X-API-Key: {second}")
        assert (seen.status, seen.reached) in ((400, False), (401, False)), (first, second)


IDENTITY = ("X-User-Id", "X-Api-Key-Id")


def spellings(name):
    """As many applications read it: without case, an underscore as a hyphen."""
    return (name, name.lower(), name.upper(), name.replace("-", "_"), name.lower().replace("-", "_", 1),
            name.upper().replace("-", "_", 1), name[::-1].replace("-", "_", 1)[::-1])


def test_the_application_sees_one_user(db, behind):
    """The right one, whatever a client sends under the names of the identity's fields, and whatever its Connection
    names: such fields are for the next hop only (RFC 9110, section 7.6.1), and ours come later."""
    db.add_key("good")
    gateway = behind()
    right = {"x-user-id": str(db.user_id),
             "x-api-key-id": str(db.one("SELECT api_key_id FROM api.user_api_key WHERE key_id = 'good'"))}
    cases = [[f"{spelling}: {value}"] * count for name in IDENTITY for spelling in spellings(name)
             for value, count in ((uuid.uuid4(), 1), ("forged", 3), ("", 1))]
    forged = [f"{name}: forged" for name in IDENTITY]
    for named in ("X-User-Id, X-Api-Key-Id", "x-user-id", "close, X-API-KEY-ID", "keep-alive, X_User_Id",
                  "X-User-Id, upgrade", "X-Api-Key-Id\r\nConnection: X-User-Id"):
        cases += [[f"Connection: {named}"], [f"Connection: {named}", *forged], [*forged, f"Connection: {named}"]]
    reached = 0
    for case in cases:
        seen = gateway.ask_raw("X-API-Key: good", *case)
        reached += seen.reached
        assert seen.reached or seen.status == 400, case
        names = [field.replace("_", "-") for field, _ in seen.request]
        for name, value in right.items():
            assert not seen.reached or (seen.values(name), names.count(name)) == ([value], 1), case
        # The next hop must not take them away either.
        assert not any(named in value.lower() for value in seen.values("connection") for named in right), case
    assert reached > len(cases) / 2
    # Attributes, which no key has here: nginx removes those that its file names (test_limits_by_plan).
    if type(gateway.gateway).__name__ != "Nginx":
        for spelling in spellings("X-Api-Key-Plan"):
            seen = gateway.ask_raw("X-API-Key: good", f"{spelling}: gold", f"{spelling}: forged")
            assert "x-api-key-plan" not in [field.replace("_", "-") for field, _ in seen.request], spelling
    # Who takes the key away from the question has none.
    seen = gateway.ask_raw("X-API-Key: good", "Connection: X-API-Key")
    assert (seen.status, seen.reached) == (401, False) or (seen.status, seen.values("x-api-key")) == (200, [])


@over_http
def test_keys_in_other_places(db, behind, request):
    """The original query is told by the gateway; a client that tells another is not heard."""
    db.add_key("good")
    db.add_key("off", active=False)
    field = {"nginx": "X-Original-URI", "caddy": "X-Forwarded-Uri", "haproxy": "X-Original-URI"}[
        request.node.callspec.params["behind"]]
    gateway = behind({"http.key_from": f"header:X-API-Key, query:api_key@{field}"})
    forged = {field: "/?api_key=good"}
    assert gateway.ask(path="/v1?x=1&api_key=go%6fd").values("x-user-id") == [str(db.user_id)]
    for path, key, status in (("/v1?api_key=off", None, 403), ("/v1?api_key=good", "off", 400), ("/v1", None, 401),
                              ("/v1?api_key=none", None, 401)):
        for headers in ({}, forged):
            seen = gateway.ask(key, path=path, headers=headers)
            assert (seen.status, seen.reached) == (status, False), (path, key, headers)


@over_http
def test_preflights(db, behind):
    """They pass without a key once the example's lines for them are taken in; nobody is known then."""
    db.add_key("good")
    gateway = behind(cors=True)
    origin, method = "Origin: https://app.example", "Access-Control-Request-Method: PUT"
    forged = ["X-User-Id: forged", "X_User_Id: forged", "X-Api-Key-Id: forged", "X-API-Key: good"]
    seen = gateway.ask_raw(origin, method, *forged, method="OPTIONS")
    assert seen.reached and seen.status == 200
    assert not any(field.startswith(("x-api", "x_api", "x-user", "x_user")) for field, _ in seen.request)
    assert info(gateway.daemon)["http_requests"] == 0
    for verb, fields in (("OPTIONS", [origin]), ("OPTIONS", [method]), ("GET", [origin, method]),
                         ("POST", [origin, method, "X-Forwarded-Method: OPTIONS"])):
        seen = gateway.ask_raw(*fields, *forged[:3], method=verb)
        assert (seen.status, seen.reached) == (401, False), (verb, fields)
    assert gateway.ask("good").values("x-user-id") == [str(db.user_id)]


def test_an_apikeyd_that_hangs(db, behind):
    """It is stopped, so connections are accepted and nothing comes: as good as none."""
    db.add_key("good")
    gateway = behind()
    assert gateway.ask("good").status == 200
    gateway.daemon.process.pause()
    try:
        seen = gateway.ask("good")
        assert (seen.status, seen.reached) == (503, False)
        assert seen.fields["retry-after"] == "1"
    finally:
        gateway.daemon.process.resume()
    wait_until(lambda: gateway.ask("good").status == 200, "the daemon")


def test_a_request_without_a_host(db, behind):
    db.add_key("good")
    gateway = behind()
    with socket.create_connection(("127.0.0.1", gateway.gateway.port), 60) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\nX-API-Key: good\r\n\r\n")
        assert raw.makefile("rb").readline().split()[1] == b"200"


def test_the_application_decides_the_rest(db, behind):
    """Its own errors and bodies pass; a body is not sent to apikeyd."""
    db.add_key("good")
    gateway = behind()
    seen = gateway.ask("good", path="/fails")
    assert seen.status == 500 and seen.reached
    seen = gateway.ask("good", path="/authorize/x?y=1", method="POST", body=b"b" * 200000)
    assert seen.status == 200 and seen.reached
    assert gateway.ask("none", method="POST", body=b"b" * 1000).status == 401


def test_revoked(db, behind, request, figure):
    """Over and over: when COMMIT has returned, until the first refusal behind the gateway."""
    db.add_key("good")
    gateway = behind(LONG)
    delays = []
    with db.connect() as other:
        for _ in range(50):
            wait_until(lambda: gateway.ask("good").status == 200, "the key to be active")
            other.execute("UPDATE api.user_api_key SET is_active = false WHERE key_id = 'good'")
            committed = time.monotonic()
            while gateway.ask("good").status != 403:
                assert time.monotonic() < committed + 60
            delays.append((time.monotonic() - committed) * 1000)
            db.set_active("good", True)
    delays.sort()
    gateway = request.node.callspec.params["behind"]
    figure(f"{gateway}, median, ms", delays[25])
    figure(f"{gateway}, longest, ms", delays[-1])
