"""redis-py, blocking and with asyncio: see test_clients.py."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import redis
import redis.asyncio

path, good, none = sys.argv[1:]
URL = f"unix://default:any@{path}?db=0&decode_responses=True"


def say(step, answers):
    print(step, *(word for answer in answers for word in answer), flush=True)


def ask(client):
    return [client.execute_command("CHECK", key) for key in (good, none)]


def add(pipeline):
    for key in (good, none):
        pipeline.execute_command("CHECK", key)
    return pipeline


async def ask_async(client):
    return [await client.execute_command("CHECK", key) for key in (good, none)]


async def use_asyncio():
    client = redis.asyncio.Redis(unix_socket_path=path, decode_responses=True)
    say("asyncio", await ask_async(client))
    say("asyncio-transaction", await add(client.pipeline()).execute())
    say("asyncio-pool", (await asyncio.gather(*(ask_async(client) for _ in range(20))))[-1])
    other = redis.asyncio.from_url(URL)
    say("asyncio-url", await ask_async(other))
    await other.close()
    await asyncio.to_thread(wait)
    say("asyncio-again", await ask_async(client))
    await client.close()


def wait():
    print("ready", flush=True)
    sys.stdin.readline()


client = redis.Redis(unix_socket_path=path, decode_responses=True, client_name="gateway", health_check_interval=1)
print("version", redis.__version__)
say("defaults", ask(client))
say("transaction", add(client.pipeline()).execute())
say("watch", client.transaction(lambda pipeline: (pipeline.multi(), add(pipeline)), "any"))
say("pipeline", add(client.pipeline(transaction=False)).execute())
say("url", ask(redis.from_url(URL)))
pooled = redis.Redis(connection_pool=redis.BlockingConnectionPool.from_url(URL, max_connections=4))
with ThreadPoolExecutor(8) as threads:
    say("pool", list(threads.map(ask, [pooled] * 100))[-1])
asyncio.run(use_asyncio())
say("again", ask(client))
