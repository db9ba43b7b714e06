"""The small real web server that runs in every simulated web container.

`/` tells who answers; `/echo`, `/upload`, `/slow?s=5`, `/hang`, `/stream`, `/sse`, `/ws`, `/big?mib=10`
and `/status/503` behave like the situations that a proxy has to live with; `/crash` ends the container.
"""

from __future__ import annotations

import asyncio
import base64
import html
import json
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from paastis.simulate.app import App, Container

SERVER = "simulated-router"
"""The Server header of every answer, the platform's own pages included: it tells nothing."""
_CHUNK = bytes(64 * 1024)
_ECHO_MOST = 16 * 1024 * 1024  # bytes
_FOREVER = 1_000_000_000

_HELLO = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:1.1rem system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem}}
:root{{color-scheme:light dark}}</style></head>
<body><h1>Hello from {name}</h1><p>Container {container} in {region}, boot number {boot}.</p></body></html>
"""


async def serve(
    request: web.BaseRequest, app: App, container: Container, crash: Callable[[], None]
) -> web.StreamResponse:
    """Answer one request as the app in this container does."""
    path = request.path
    if path == "/":
        return _hello(request, app, container)
    if path == "/crash":
        crash()
        return web.Response()  # goes nowhere: the crash cut the connection
    if path.startswith("/status/"):
        return _status(path.removeprefix("/status/"))
    handler = _HANDLERS.get(path)
    if handler is None:
        return web.Response(status=404, text=f"{app.name} has no {path}\n", headers=_headers())
    return await handler(request)


def _headers() -> dict[str, str]:
    return {"Server": SERVER}


def _number(request: web.BaseRequest, name: str, default: float, most: float) -> float:
    """A number from the query, from 0 to `most`; nonsense is the default."""
    try:
        value = float(request.query.get(name, default))
    except ValueError:
        return default
    return min(value, most) if value >= 0 else default


def _hello(request: web.BaseRequest, app: App, container: Container) -> web.Response:
    who = {
        "name": app.name,
        "region": app.region,
        "container": container.label,
        "boot": container.boot,
    }
    if "text/html" in request.headers.get("Accept", ""):
        page = _HELLO.format_map({key: html.escape(str(value)) for key, value in who.items()})
        return web.Response(text=page, content_type="text/html", headers=_headers())
    return web.json_response(who, headers=_headers())


def _status(given: str) -> web.Response:
    status = int(given) if given.isascii() and given.isdigit() else 0
    if not 200 <= status <= 599:
        return web.Response(status=400, text="a status is a number from 200 to 599\n")
    return web.Response(status=status, text=f"{status}, as you asked\n", headers=_headers())


async def _echo(request: web.BaseRequest) -> web.Response:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _ECHO_MOST:
            return web.Response(status=413, text="too much to echo\n", headers=_headers())
    told: dict[str, object] = {
        "method": request.method,
        "path": request.path,
        "query": request.query_string,
        "headers": dict(request.headers),
        "raw_headers": [[k.decode(), v.decode("latin-1")] for k, v in request.raw_headers],
    }
    try:
        told["body"] = body.decode()
    except UnicodeDecodeError:
        told["body"] = None
        told["body_base64"] = base64.b64encode(body).decode()
    return web.json_response(told, headers=_headers())


async def _upload(request: web.BaseRequest) -> web.Response:
    count = 0
    async for chunk in request.content.iter_any():
        count += len(chunk)
    return web.json_response({"bytes": count}, headers=_headers())


async def _slow(request: web.BaseRequest) -> web.Response:
    seconds = _number(request, "s", 5, 3600)
    await asyncio.sleep(seconds)
    return web.json_response({"slept": seconds}, headers=_headers())


async def _hang(_request: web.BaseRequest) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets the event")


async def _pieces(
    request: web.BaseRequest, pieces: AsyncIterator[bytes], **headers: str
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers=_headers() | {name.replace("_", "-"): value for name, value in headers.items()}
    )
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def _stream(request: web.BaseRequest) -> web.StreamResponse:
    """`n` lines, one `every` so many seconds."""
    count, every = int(_number(request, "n", 10, _FOREVER)), _number(request, "every", 1, 3600)

    async def lines() -> AsyncIterator[bytes]:
        for line in range(1, count + 1):
            yield f"line {line}\n".encode()
            await asyncio.sleep(every if line < count else 0)

    return await _pieces(request, lines(), Content_Type="text/plain; charset=utf-8")


async def _sse(request: web.BaseRequest) -> web.StreamResponse:
    """Server-sent events without end, unless `n` says how many."""
    count, every = (
        int(_number(request, "n", _FOREVER, _FOREVER)),
        _number(request, "every", 1, 3600),
    )

    async def events() -> AsyncIterator[bytes]:
        for event in range(1, count + 1):
            yield f"id: {event}\ndata: {json.dumps({'event': event})}\n\n".encode()
            await asyncio.sleep(every if event < count else 0)

    return await _pieces(
        request, events(), Content_Type="text/event-stream", Cache_Control="no-cache"
    )


async def _big(request: web.BaseRequest) -> web.StreamResponse:
    size = int(_number(request, "mib", 10, 4096) * 1024 * 1024)

    async def zeros() -> AsyncIterator[bytes]:
        for start in range(0, size, len(_CHUNK)):
            yield _CHUNK[: size - start]

    return await _pieces(
        request, zeros(), Content_Type="application/octet-stream", Content_Length=str(size)
    )


async def _ws(request: web.BaseRequest) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    if not socket.can_prepare(request):
        return web.Response(
            status=426, text="this is a WebSocket\n", headers=_headers() | {"Upgrade": "websocket"}
        )
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


_HANDLERS: dict[str, Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]] = {
    "/echo": _echo,
    "/upload": _upload,
    "/slow": _slow,
    "/hang": _hang,
    "/stream": _stream,
    "/sse": _sse,
    "/big": _big,
    "/ws": _ws,
}
