"""Lambda authorizer events: the files in aws/ have the forms that API Gateway's guide documents. KEY stands where the
gateway puts what the table holds; a file with both the value and the ID of the gateway's key is named after that one."""

import importlib.util
import json
import threading
import urllib.error
from pathlib import Path

import pytest
from conftest import info
from harness.gateways import EXAMPLES, free_port
from harness.servers import wait_until
from http_wire import HttpWire

pytestmark = pytest.mark.builds("release", "debug", "asan")

FOLDER = Path(__file__).with_name("aws")
EVENTS = sorted(path.stem for path in FOLDER.glob("*.json"))
STAGE = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/*"


def event(name, key):
    return (FOLDER / f"{name}.json").read_text().replace('"KEY"', json.dumps(key))


def load(name, key="good"):
    return json.loads(event(name, key))


def post(wire, body):
    if not isinstance(body, (str, bytes)):
        body = json.dumps(body)
    body = body if isinstance(body, bytes) else body.encode()
    return wire.ask("/aws/authorizer", "POST", ["Content-Type: application/json"], body)


def answer(wire, body):
    reply = post(wire, body)
    assert reply.status == 200, reply
    assert reply.fields["content-type"] == "application/json"
    assert reply.fields["cache-control"] == "no-store"
    return json.loads(reply.body)


def policy(effect, principal, context):
    return {"principalId": principal, "context": context, "policyDocument": {
        "Version": "2012-10-17",
        "Statement": [{"Action": "execute-api:Invoke", "Effect": effect, "Resource": STAGE}]}}


# What the table holds is the text KEY; the other values of an event are not in the table.
OF_ID = "rest_request_api_key_id"


def test_there_is_one_of_each():
    assert EVENTS == ["http_1_0", "http_2_0", "rest_request", "rest_request_api_key", OF_ID, "rest_token", "websocket"]


def set_options(wire, **options):
    """aws_key_from is aws.key_from."""
    wire.daemon.options.update({name.replace("_", ".", 1): value for name, value in options.items()})
    wire.daemon.write_config()
    assert wire.daemon.admin_client().execute_command("RELOAD") == "OK"


def test_allow_and_deny(db, wire):
    """Each event, from a miss and from a hit."""
    user, key_id = str(db.user_id), str(db.one("SELECT api_key_id FROM api.user_api_key "
                                               "WHERE key_id = 'good'"))
    allowed = {"apiKeyId": key_id, "userId": user}
    for name in [*(name for name in EVENTS if name != OF_ID), OF_ID]:
        if name == OF_ID:  # the value comes first, unless the table holds the ID
            assert answer(wire, event(name, "good"))["context"] == {"reason": "unknown"}
            set_options(wire, aws_key_from="api_key_id, header")
        for key, reason in (("good", None), ("off", "inactive"), ("nobody's", "unknown"),
                            ("ключ \"\\", "unknown")) * 2:
            context = {"reason": reason} if reason else allowed
            if name == "http_2_0":
                expected = {"isAuthorized": not reason, "context": context}
            elif reason:
                expected = policy("Deny", "anonymous", context)
            else:
                expected = policy("Allow", user, context)
            assert answer(wire, event(name, key)) == expected, name
        # One that is too long to look up may be in the table.
        assert post(wire, event(name, "x" * 300)).status == 503


def with_fields(name, **fields):
    """An event with other members; authorizationToken is left out of those that are not TOKEN."""
    given = {**load(name), **fields}
    if given["type"] != "TOKEN" and "authorizationToken" not in fields:
        given.pop("authorizationToken", None)
    return given


def reason(wire, given):
    """Of a Deny; None is an Allow."""
    found = answer(wire, given)
    allowed = found["isAuthorized"] if "isAuthorized" in found else found["principalId"] != "anonymous"
    assert allowed == ("Allow" in json.dumps(found) or found.get("isAuthorized", False))
    assert allowed == ("reason" not in found["context"])
    return found["context"].get("reason")


def test_no_key(wire):
    """The caller's fault, not the event's."""
    for name in ("rest_request", "http_1_0", "http_2_0", "websocket"):
        for headers in (None, {}, {"accept": "*/*"}, {"x-api-key": ""}, {"x-api-key": " \t"}):
            assert reason(wire, with_fields(name, headers=headers, multiValueHeaders=None)) == "missing"
    for token in ("Bearer", "ApiKey ", " bearer  "):
        assert reason(wire, with_fields("rest_token", authorizationToken=token)) == "missing"


def test_several_keys(wire):
    """Which one is meant is not ours to choose; the same one twice is one."""
    for headers, all_headers, expected in (
            ({"X-API-Key": "good"}, {"X-API-Key": ["bad", "good"]}, "missing"),
            ({"x-api-key": "bad", "X-API-Key": "good"}, None, "missing"),
            ({"X-API-Key": "good"}, {"X-API-Key": ["good"], "x-api-key": ["bad"]}, "missing"),
            ({"X-API-Key": "good"}, {"X-API-Key": ["good", "good"]}, None)):
        given = with_fields("rest_request", headers=headers, multiValueHeaders=all_headers)
        assert reason(wire, given) == expected
        # Nor does it fall to a source that comes later.
        given["authorizationToken"] = "good"
        assert reason(wire, given) == expected


def test_the_first_source_that_is_there(wire):
    """The gateway's value, then its ID, then the header, then authorizationToken; each without its scheme."""
    given = load("rest_request")
    identity = given["requestContext"]["identity"]
    given["authorizationToken"] = "off"
    assert reason(wire, given) is None
    given["headers"] = given["multiValueHeaders"] = None
    assert reason(wire, given) == "inactive"
    identity["apiKeyId"] = "good"
    assert reason(wire, given) is None
    identity["apiKey"] = "off"
    assert reason(wire, given) == "inactive"
    identity["apiKey"] = ""
    assert reason(wire, given) is None
    for token in ("good", "Bearer good", "bEARER\t good ", "ApiKey good", " good"):
        assert reason(wire, with_fields("rest_token", authorizationToken=token)) is None, token
    assert reason(wire, with_fields("rest_token", authorizationToken="Basic good")) == "unknown"


def test_other_sources(wire):
    query = {"api_key": "good", "page": "1"}
    set_options(wire, aws_key_from="query:api_key, header:Authorization, identity_source, header",
                http_key_from="bearer, header:X-Other, header:X-API-Key")
    nothing = {"headers": None, "multiValueHeaders": None, "identitySource": None}
    for given, expected in (
            ({"queryStringParameters": query}, None),
            ({"queryStringParameters": {"API_KEY": "good"}}, "missing"),
            ({"queryStringParameters": query, "multiValueQueryStringParameters": {"api_key": ["off", "good"]}}, "missing"),
            ({"headers": {"authorization": "Bearer good"}}, None), ({"headers": {"authorization": "good"}}, None),
            ({"identitySource": ["good"]}, None), ({"identitySource": "good"}, None),
            ({"identitySource": ["Bearer good"]}, None), ({"identitySource": ["good", "off"]}, "missing"),
            ({"headers": {"x-api-key": "good"}}, None), ({"headers": {"x-api-key": "good", "x-other": "off"}}, "inactive")):
        assert reason(wire, with_fields("http_2_0", **{**nothing, **given})) == expected, given
    set_options(wire, aws_key_from="identity_source")
    for name in ("http_1_0", "http_2_0"):
        assert reason(wire, load(name)) is None
    assert reason(wire, load("rest_token")) == "missing"


def test_usage_identifier_key(db, wire):
    """Of an Allow, from a miss and from a hit. A simple answer has none."""
    row = db.one("SELECT api_key_id FROM api.user_api_key WHERE key_id = 'good'")
    for setting, expected in (("key", "good"), ("api_key_id", str(row)), ("user_id", str(db.user_id)), ("none", None)):
        set_options(wire, aws_usage_identifier_key=setting)
        for name, key, value in (("rest_token", "good", expected), ("rest_token", "off", None), ("http_2_0", "good", None)):
            assert answer(wire, event(name, key)).get("usageIdentifierKey") == value


def without(name, *path):
    given = load(name)
    at = given
    for step in path[:-1]:
        at = at[step]
    del at[path[-1]]
    return given


BAD = {
    "nothing": ("", "JSON"), "half": ('{"type":', "JSON"), "two": ("{}{}", "JSON"),
    "not UTF-8": (b'{"type":"\xff"}', "JSON"), "bare": ("good", "JSON"),
    "twice": ('{"type":"TOKEN","type":"TOKEN"}', "JSON"),
    "deep": ("[" * 5000, "JSON"),
    "a list": ("[]", "an object is expected"), "null": ("null", "JSON"),
    "empty": ("{}", "methodArn"),
    "no methodArn": (without("rest_token", "methodArn"), "methodArn"),
    "methodArn is a number": ({**load("rest_token"), "methodArn": 1}, "methodArn"),
    "methodArn is no ARN": ({**load("rest_token"), "methodArn": "x"}, "methodArn"),
    "methodArn without a stage": ({**load("rest_token"), "methodArn": "arn:aws:execute-api:r:1:a"}, "methodArn"),
    "methodArn longer than any": ({**load("rest_token"), "methodArn": "arn:aws:execute-api:r:1:a/" + "s" * 1024 + "/GET/"},
                                  "methodArn"),
    "no type": (without("rest_token", "type"), "type"),
    "another type": ({**load("rest_token"), "type": "token"}, "type"),
    "no token": (without("rest_token", "authorizationToken"), "authorizationToken"),
    "an empty token": ({**load("rest_token"), "authorizationToken": ""}, "authorizationToken"),
    "a token that is null": ({**load("rest_token"), "authorizationToken": None}, "authorizationToken"),
    "no context": (without("http_2_0", "requestContext"), "requestContext"),
    "headers are a list": ({**load("http_2_0"), "headers": []}, "headers"),
    "another version": ({**load("http_2_0"), "version": "3.0"}, "version"),
    "version is a number": ({**load("http_2_0"), "version": 2.0}, "version"),
    "1.0 without methodArn": (without("http_1_0", "methodArn"), "methodArn"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_bad_events_name_the_field(wire, name):
    body, field = BAD[name]
    reply = post(wire, body)
    assert reply.status == 400
    assert field in reply.problem()
    assert post(wire, event("rest_token", "good")).status == 200  # the connection stays
    assert info(wire.daemon)["checks_allow"] == 1


def test_a_zero_byte_in_a_key(wire):
    given = event("rest_token", "KEY").replace('"KEY"', r'"good\u0000x"')
    reply = post(wire, given)
    assert reply.status == 400 or "reason" in json.loads(reply.body)["context"]
    assert info(wire.daemon)["checks_allow"] == 0


def test_an_event_of_64_kib_at_most(wire):
    fill = {**load("rest_token"), "fill": "x" * 60000}
    assert answer(wire, fill)["principalId"] != "anonymous"
    reply = post(wire, {**fill, "fill": "x" * 70000})
    assert reply.status == 413 and wire.ended()


CHUNKED = b"POST /aws/authorizer HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: %s\r\n%s\r\n"


def chunks(data, size=1000, end=b"0\r\n\r\n"):
    pieces = (data[i:i + size] for i in range(0, len(data), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


def test_chunked_events(wire):
    text = event("rest_token", "good").encode()
    head = CHUNKED % (b"Chunked", b"")
    for body in (chunks(text), chunks(text, 1), chunks(text, 7, b"00;a=b\r\nTrailer: x\r\n\r\n")):
        wire.send((head + body) * 2)  # the next request is found
        assert wire.reply().status == 200 and wire.reply().status == 200
    whole = head + chunks(text, 5)
    for i in range(len(whole)):
        wire.send(whole[i:i + 1])
    assert json.loads(wire.reply().body)["principalId"] != "anonymous"
    wire.send(CHUNKED % (b"chunked", b"Expect: 100-continue\r\nConnection: close\r\n"))
    assert wire.file.readline() + wire.file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(chunks(text))
    assert wire.reply().status == 200 and wire.ended()


REFUSED = (400, 501)  # one of them, by the HTTP library
NOT_TAKEN = [
    (b"chunked", chunks(b"{}", end=b"0\n\n"), 400), (b"chunked", b"x\r\n", 400), (b"chunked", b"2\r\n{}0\r\n\r\n", 400),
    (b"chunked", b"10001\r\n", 413), (b"chunked", b"ffffffff\r\n", 413), (b"chunked", chunks(b"x" * 65537), 413),
    (b"chunked", chunks(b"x" * 30000, 1), 413), (b"chunked", b"0\r\n" + b"a: b\r\n" * 30000, 413),
    (b"gzip", b"", 501), (b"gzip, chunked", b"", 501),
    (b"chunked\r\nContent-Length: 2", b"", 400),
    (b"chunked\r\nTransfer-Encoding: chunked", b"", REFUSED), (b"chunked, chunked", b"", REFUSED)]


def test_bodies_that_are_not_taken(wire):
    """The connection ends, and nothing behind is read."""
    behind = CHUNKED % (b"chunked", b"") + chunks(event("rest_token", "good").encode())
    for coding, body, status in NOT_TAKEN:
        with HttpWire(wire.path) as other:
            other.send(CHUNKED % (coding, b"") + body + behind)
            assert other.reply().status in (status if status == REFUSED else [status]) and other.ended(), (coding, body[:20])
    assert info(wire.daemon)["checks_allow"] == 0


def test_an_event_in_pieces(wire):
    text = event("rest_token", "good").encode()
    wire.send(b"POST /aws/authorizer HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % len(text))
    for i in range(len(text)):
        wire.send(text[i:i + 1])
    assert json.loads(wire.reply().body)["principalId"] != "anonymous"


def test_unavailable_is_no_policy(db, postgres, serve):
    """API Gateway answers 500 then, which is not a refusal of the key."""
    _, path = serve({"redis.url": "", "postgres.timeout": "500ms"})
    postgres.stop()
    with HttpWire(path) as wire:
        reply = post(wire, event("http_2_0", "good"))
        assert reply.status == 503 and reply.fields["retry-after"] == "1"
        assert reply.problem().startswith("postgres")


def test_many_at_once(db, serve):
    db.add_keys(50)
    daemon, path = serve({"redis.url": ""})
    wrong = []

    def ask(i):
        with HttpWire(path) as wire:
            if answer(wire, event("http_2_0", f"key-{i % 60}"))["isAuthorized"] != (i % 60 < 50):
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=[i]) for i in range(120)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    wait_until(lambda: info(daemon)["lookups_pending"] == 0, "the lookups")


def test_the_lambda_example(db, start, monkeypatch):
    """The function itself, with its event, over TCP."""
    db.add_key("good")
    port = free_port()
    start({"listen.http": f"127.0.0.1:{port}"})
    monkeypatch.setenv("APIKEYD_URL", f"http://127.0.0.1:{port}")
    spec = importlib.util.spec_from_file_location("authorizer",
                                                  EXAMPLES / "lambda" / "authorizer.py")
    authorizer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(authorizer)
    assert authorizer.handler(load("http_2_0"), None)["isAuthorized"] is True
    assert authorizer.handler(load("http_2_0", "none"), None)["isAuthorized"] is False
    with pytest.raises(urllib.error.HTTPError, match="400"):
        authorizer.handler({}, None)
