"""Lambda authorizer events: the files in aws/ have the forms that API Gateway's guide documents."""

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


def test_there_is_one_of_each():
    assert EVENTS == ["http_1_0", "http_2_0", "rest_request", "rest_request_api_key_id", "rest_token"]


@pytest.mark.parametrize("name", EVENTS)
def test_allow_and_deny(db, wire, name):
    """From a miss and from a hit."""
    user, key_id = str(db.user_id), str(db.one("SELECT api_key_id FROM api.user_api_key "
                                               "WHERE key_id = 'good'"))
    allowed = {"apiKeyId": key_id, "userId": user}
    for _ in range(2):
        for key, reason in (("good", None), ("off", "inactive"), ("nobody's", "unknown"),
                            ("ключ \"\\", "unknown")):
            context = {"reason": reason} if reason else allowed
            if name == "http_2_0":
                expected = {"isAuthorized": not reason, "context": context}
            elif reason:
                expected = policy("Deny", "anonymous", context)
            else:
                expected = policy("Allow", user, context)
            assert answer(wire, event(name, key)) == expected
    # One that is too long to look up may be in the table.
    assert post(wire, event(name, "x" * 300)).status == 503


def test_no_key(wire):
    """The caller's fault, not the event's."""
    for name in ("rest_request", "http_1_0", "http_2_0"):
        for headers in (None, {}, {"accept": "*/*"}, {"x-api-key": ""}):
            given = {**load(name), "headers": headers, "multiValueHeaders": None}
            found = answer(wire, given)
            assert found["context"] == {"reason": "missing"}
            assert found.get("isAuthorized", False) is False
            assert "Allow" not in json.dumps(found)


def test_several_keys(wire):
    """API Gateway passes on one of them; which one is not ours to choose."""
    given = load("rest_request")
    given["multiValueHeaders"]["X-API-Key"] = ["bad", "good"]
    assert answer(wire, given)["context"] == {"reason": "missing"}


def test_several_keys_in_other_case(wire):
    given = load("rest_request")
    given["headers"]["x-api-key"] = "bad"
    given["headers"]["X-API-Key"] = "good"
    given["multiValueHeaders"] = None
    assert answer(wire, given)["context"] == {"reason": "missing"}
    given = load("rest_request")
    given["headers"] = {"X-API-Key": "good"}
    given["multiValueHeaders"] = {"X-API-Key": ["good"], "x-api-key": ["bad"]}
    assert answer(wire, given)["context"] == {"reason": "missing"}


def test_the_key_id_comes_before_the_header(wire):
    given = load("rest_request")
    given["requestContext"]["identity"]["apiKeyId"] = "off"
    assert answer(wire, given)["context"] == {"reason": "inactive"}


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


def test_a_length_is_needed(wire):
    wire.send(b"POST /aws/authorizer HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    assert wire.reply().status == 411 and wire.ended()


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
