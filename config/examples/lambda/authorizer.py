"""A Lambda authorizer that hands its event to apikeyd; see docs/gateways.md.

For REST APIs (TOKEN and REQUEST), WebSocket APIs and HTTP APIs (payload format 1.0 and 2.0, with
simple responses).
APIKEYD_URL is where apikeyd's HTTP listener can be reached from the function's network.
"""

import json
import os
import urllib.request

URL = os.environ["APIKEYD_URL"] + "/aws/authorizer"


def handler(event, _context):
    """apikeyd's answer is what API Gateway expects. An error, as when apikeyd cannot tell, becomes
    API Gateway's 500: it is no refusal, and is not cached."""
    request = urllib.request.Request(URL, json.dumps(event).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=2) as reply:
        return json.load(reply)
