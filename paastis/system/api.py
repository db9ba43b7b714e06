"""Health, metrics and the system API: one table of routes behind three doors.

The port serves health and metrics to everybody and the rest for a bearer token, where it is
enabled. The visitors' port serves all of it for two headers, where it is enabled. The CLI's socket
serves all of it: who may open the socket is this machine's user.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from paastis.app import App
from paastis.errors import Conflict, ProviderError, RegistryUnavailable, UnknownApp
from paastis.registry.port import Change
from paastis.secret import Secret
from paastis.system import orders
from paastis.system.openapi import openapi_document
from paastis.system.port import Health, Instance
from paastis.system.view import account_view, app_view

log = logging.getLogger(__name__)

TARGET_HEADER = "PaastisProxyTarget"
"""On the visitors' port: `system` asks for this API. Never passed on to an app."""

TOKEN_HEADER = "PaastisProxySystemApiToken"  # noqa: S105 - a header's name
"""On the visitors' port: carries the token. Never passed on to an app."""

EVENT_HEARTBEAT = timedelta(seconds=15)
"""Below the 30 to 60 s after which things in between close a silent connection."""

EVENT_WRITE_TIMEOUT = timedelta(seconds=30)
"""A reader that takes nothing for this long is let go."""

MOST_EVENT_STREAMS = 50

_AT_ONCE = 100
"""Apps that are described between two looks at what else is to do."""

Handler = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path; `{name}` stands for one segment, which the handler gets."""

    method: str
    path: str
    handler: Handler
    public: bool = False
    """Health and metrics: no token."""
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        expression = re.escape(self.path).replace(re.escape("{name}"), "([^/]+)")
        object.__setattr__(self, "pattern", re.compile(expression))


class SystemApi:
    """The routes and their doors.

    `token` is needed where `enabled`: it raises ValueError without one. `read_only` is what callers
    are told who want to change something; without it they may.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        enabled: bool = False,
        token: Secret | None = None,
        read_only: str = "",
    ) -> None:
        if enabled and not token:
            raise ValueError("The system API is enabled without a token.")
        self._instance = instance
        self._enabled = enabled
        self._token = token
        self._read_only = read_only
        self._closing = asyncio.Event()
        self._streams = 0
        self.routes: Sequence[Route] = (
            Route("GET", "/healthz", self._healthz, public=True),
            Route("GET", "/readyz", self._readyz, public=True),
            Route("GET", "/metrics", self._metrics, public=True),
            Route("GET", "/apps", self._list),
            Route("DELETE", "/apps", self._forget),
            Route("GET", "/apps/{name}", self._show),
            Route("POST", "/apps/{name}/wake", self._wake),
            Route("POST", "/apps/{name}/sleep", self._sleep),
            Route("GET", "/accounts", self._accounts),
            Route("GET", "/events", self._events),
            Route("GET", "/openapi.json", self._openapi),
        )

    def close(self) -> None:
        """End the event streams, so that a server can end without waiting for them."""
        self._closing.set()

    # --- doors

    async def serve_port(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request on the system port."""
        public = [route for route in self.routes if route.public]
        if any(route.pattern.fullmatch(request.rel_url.raw_path) for route in public):
            return await self._dispatch(request, public)
        if not self._enabled:
            return _problem(HTTPStatus.NOT_FOUND, "There is nothing here.")
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else ""
        return await self._if_allowed(request, given)

    async def serve_by_header(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request on the visitors' port that names the system as its target."""
        if not self._enabled:
            return _problem(HTTPStatus.NOT_FOUND, "There is nothing here.")
        return await self._if_allowed(request, request.headers.get(TOKEN_HEADER, ""))

    async def serve_socket(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request on the CLI's socket."""
        return await self._dispatch(request, self.routes)

    async def _if_allowed(self, request: web.BaseRequest, given: str) -> web.StreamResponse:
        # Before the route is looked for: a stranger learns nothing about what there is.
        if not _matches(self._token, given):
            # RFC 6750 section 3: no error code where no token was given.
            error = ', error="invalid_token"' if given else ""
            return _problem(
                HTTPStatus.UNAUTHORIZED,
                "The token is not the right one." if given else "A token is needed.",
                headers={"WWW-Authenticate": f'Bearer realm="paastis"{error}'},
            )
        return await self._dispatch(request, self.routes)

    async def _dispatch(
        self, request: web.BaseRequest, routes: Sequence[Route]
    ) -> web.StreamResponse:
        fitting = [
            (route, match)
            for route in routes
            if (match := route.pattern.fullmatch(request.rel_url.raw_path))
        ]
        if not fitting:
            return _problem(HTTPStatus.NOT_FOUND, "There is nothing here.")
        for route, match in fitting:
            if route.method == request.method or (route.method, request.method) == ("GET", "HEAD"):
                return await self._answer(request, route, unquote("".join(match.groups())))
        methods = {route.method for route, _ in fitting}
        allowed = sorted(methods | {"HEAD"} if "GET" in methods else methods)
        return _problem(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{request.method} cannot be done here.",
            headers={"Allow": ", ".join(allowed)},
        )

    async def _answer(
        self, request: web.BaseRequest, route: Route, name: str
    ) -> web.StreamResponse:
        if self._read_only and route.method != "GET":
            return _problem(HTTPStatus.CONFLICT, self._read_only)
        try:
            return await route.handler(request, name)
        except UnknownApp as error:
            return _problem(HTTPStatus.NOT_FOUND, str(error))
        except (orders.Ambiguous, orders.Pointless, Conflict) as error:
            return _problem(HTTPStatus.CONFLICT, str(error))
        except RegistryUnavailable as error:
            return _problem(
                HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"Retry-After": "5"}
            )
        except ProviderError as error:
            return _problem(
                HTTPStatus.BAD_GATEWAY,
                f"The provider did not answer as expected: {error}",
                headers={"Retry-After": "60"},
            )
        except (ConnectionError, TimeoutError):
            raise  # the reader of a stream left or takes nothing; there is nobody to answer
        except Exception:
            log.exception("%s %s failed", route.method, route.path)
            self._instance.metrics.errors.labels("system").inc()
            return _problem(
                HTTPStatus.INTERNAL_SERVER_ERROR, "That went wrong here; the log says how."
            )

    # --- handlers

    async def _healthz(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del request, name
        return _health(self._instance.alive())

    async def _readyz(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del request, name
        return _health(self._instance.ready())

    async def _metrics(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del request, name
        body, content_type = self._instance.metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _list(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del request, name
        apps = sorted(self._instance.registry.apps().values(), key=lambda app: app.name)
        views = []
        for number, app in enumerate(apps, start=1):
            views.append(app_view(app, self._instance))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # visitors are served by the same loop
        return _json(views)

    async def _show(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del request
        return self._one(orders.find(self._instance.registry, name))

    async def _wake(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del request
        app = await orders.wake(self._instance.registry, name, now=self._instance.now())
        return self._one(app, HTTPStatus.ACCEPTED)

    async def _sleep(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del request
        return self._one(await orders.sleep(self._instance.registry, name), HTTPStatus.ACCEPTED)

    async def _forget(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del request, name
        return _json({"forgotten": await self._instance.forget()})

    async def _accounts(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del request, name
        return _json([account_view(account) for account in self._instance.accounts()])

    async def _openapi(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del request, name
        return _json(openapi_document())

    def _one(self, app: App, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
        return _json(app_view(app, self._instance), status)

    async def _events(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        del name
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        if request.method == "HEAD":
            return response
        if self._streams >= MOST_EVENT_STREAMS or self._closing.is_set():
            return _problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many event streams are open.",
                headers={"Retry-After": "5"},
            )
        feed = self._instance.registry.changes()
        self._streams += 1
        try:
            await response.prepare(request)
            await _send(response, b": connected\n\n")
            async with aclosing(_steps(feed, self._closing)) as steps:
                async for change in steps:
                    await _send(response, self._event(change))
        finally:
            self._streams -= 1
        return response

    def _event(self, change: Change | None) -> bytes:
        if change is None:
            return b": still here\n\n"
        app = None if change.app is None else app_view(change.app, self._instance)
        data = json.dumps({"name": change.name, "position": change.position, "app": app})
        return f"id: {change.position}\nevent: app\ndata: {data}\n\n".encode()


async def _steps(
    feed: AsyncIterator[Change], closing: asyncio.Event
) -> AsyncGenerator[Change | None, None]:
    """The feed's changes, and None whenever it was silent for long; ends when closing."""
    end = asyncio.ensure_future(closing.wait())
    step = asyncio.ensure_future(anext(feed))
    try:
        while not closing.is_set():
            await asyncio.wait(
                {end, step},
                timeout=EVENT_HEARTBEAT.total_seconds(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not step.done():
                if not closing.is_set():
                    yield None
                continue
            try:
                change = step.result()
            except StopAsyncIteration:
                return
            yield change
            step = asyncio.ensure_future(anext(feed))
    finally:
        for task in (end, step):
            task.cancel()
        await asyncio.gather(end, step, return_exceptions=True)


async def _send(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(EVENT_WRITE_TIMEOUT.total_seconds()):
        await response.write(data)


def _matches(token: Secret | None, given: str) -> bool:
    try:
        return token is not None and token.matches(given)
    except UnicodeEncodeError:
        return False  # bytes that are no UTF-8 cannot be the token


def _health(health: Health) -> web.Response:
    well, message = health
    return _json(
        {"status": "ok" if well else "failing", "message": message},
        HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE,
    )


def _json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.json_response(value, status=status, headers={"Cache-Control": "no-store"})


def _problem(
    status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """RFC 9457."""
    return web.json_response(
        {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail},
        status=status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        content_type="application/problem+json",
    )
