"""Asks an application behind the generated guard and fails at the first answer that isn't as expected.

Run in the folder with `key_guard.py`, the key in SERVE_API_KEY. Prints `ok` last.
"""

import asyncio
import os
import sys

sys.path.insert(0, "")

import httpx
import key_guard
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

KEY = os.environ[key_guard.VARIABLE]
MODELS = "/v1/models"


async def answer(_):
    return PlainTextResponse("behind the guard")


def expect(what, found, expected):
    """Fails with both values when they differ."""
    if found != expected:
        sys.exit(f"{what}: expected {expected!r}, found {found!r}")


async def main():
    paths = [MODELS, *sorted(key_guard.OPEN_PATHS)]
    app = Starlette(
        routes=[Route(path, answer) for path in paths], middleware=key_guard.middlewares()
    )
    right = ("Authorization", f"Bearer {KEY}")
    requests = [
        ("the right key", MODELS, [right], 200),
        ("another case of the header", MODELS, [("authorization", f"Bearer {KEY}")], 200),
        ("no key", MODELS, [], 401),
        ("an empty key", MODELS, [("Authorization", "Bearer ")], 401),
        ("a wrong key", MODELS, [("Authorization", "Bearer wrong")], 401),
        ("a key's beginning", MODELS, [("Authorization", f"Bearer {KEY[:-1]}")], 401),
        ("a longer key", MODELS, [("Authorization", f"Bearer {KEY}x")], 401),
        ("the key alone", MODELS, [("Authorization", KEY)], 401),
        ("a key outside of ASCII", MODELS, [("Authorization", "Bearer clé".encode())], 401),
        ("two keys", MODELS, [right, ("Authorization", "Bearer wrong")], 401),
        ("the operator's probe", "/-/healthz", [], 200),
        ("another path of Ray", "/-/routes/", [], 401),
        ("no such path", "/nowhere", [], 401),
    ]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://guarded") as client:
        for what, path, headers, status in requests:
            response = await client.get(path, headers=headers)
            expect(what, response.status_code, status)
            if status == 401:
                expect(what, response.json()["error"]["code"], "invalid_api_key")
                expect(what, response.headers["www-authenticate"], "Bearer")
            else:
                expect(what, response.text, "behind the guard")

    sent = []

    async def send(message):
        sent.append(message)

    socket = {"type": "websocket", "path": MODELS, "headers": []}
    await key_guard.KeyGuard(app)(socket, None, send)
    expect("a web socket", sent, [{"type": "websocket.close", "code": 1008}])

    os.environ[key_guard.VARIABLE] = ""
    try:
        key_guard.middlewares()
    except RuntimeError as error:
        expect("the refusal", key_guard.VARIABLE in str(error), True)
    else:
        sys.exit("a server without a key starts")


asyncio.run(main())
print("ok")
