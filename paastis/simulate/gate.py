"""What every API call passes on its way in: the log of calls, latency, the rate limit, faults, the token.

The control interface doesn't pass here: looking at the simulation costs nothing and is not logged.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from paastis.simulate.faults import Fault
from paastis.simulate.wire import ApiRefusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime, timedelta

    from paastis.simulate.faults import Answer, Faults
    from paastis.simulate.tokens import Tokens

FAULT = web.RequestKey("FAULT", Fault)
"""The fault that befalls this call, for handlers that start operations."""
CONTROL_PREFIX = "/_sim"
_CALLS_KEPT = 100_000
_WINDOW = 60.0  # seconds; the provider counts calls per minute
_OPEN_PATHS = ("/v1/tokens/exchange", "/v1/regions")
_HTML_ERROR = "<!DOCTYPE html><html><body><h1>{status}</h1><p>We are down for maintenance.</p></body></html>\n"


@dataclass(slots=True)
class Call:
    """One API call. `status` is None until it is answered, and for ever if it was dropped."""

    time: float
    method: str
    path: str
    query: str
    status: int | None = None

    def to_json(self) -> dict[str, object]:
        """As the control interface shows it; `time` is in seconds since 1970."""
        return {
            "time": self.time,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "status": self.status,
        }


class Gate:
    """The middleware of the API; `calls` is the log, oldest first."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        faults: Faults,
        tokens: Tokens,
        rate_limit: int,
        latency: timedelta,
        on_call: Callable[[Call], None] | None = None,
    ) -> None:
        self.calls: deque[Call] = deque(maxlen=_CALLS_KEPT)
        self._now = now
        self._faults = faults
        self._tokens = tokens
        self._rate_limit = rate_limit
        self._latency = latency.total_seconds()
        self._on_call = on_call
        self._counted: deque[float] = deque()

    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """The gate as aiohttp wants it."""

        @web.middleware
        async def gate(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            if request.path == CONTROL_PREFIX or request.path.startswith(f"{CONTROL_PREFIX}/"):
                return await handler(request)
            try:
                # What is here as a whole takes effect, also if its client has left before that.
                await request.read()
            except ConnectionError:
                return web.Response()  # goes nowhere
            call = Call(self._now().timestamp(), request.method, request.path, request.query_string)
            self.calls.append(call)
            try:
                response = await self._pass(request, call, handler)
                call.status = None if _is_cut(request) else response.status
            finally:
                if self._on_call is not None:
                    self._on_call(call)
            return response

        return gate

    async def _pass(
        self,
        request: web.Request,
        call: Call,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        within_limit = self._count(call.time)
        if self._latency:
            await asyncio.sleep(self._latency)
        if not within_limit:
            return rate_limited()
        path = call.path[max(call.path.find("/v1/"), 0) :]
        fault = self._faults.befalling(call.method, path)
        if fault is None:
            return await self._authorised(request, path, handler)
        return await self._befall(fault, request, path, handler)

    async def _befall(
        self,
        fault: Fault,
        request: web.Request,
        path: str,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        if fault.delay:
            await asyncio.sleep(fault.delay.total_seconds())
        if fault.drop == "before":
            return _cut(request)
        if fault.expire_token:
            self._tokens.expire_all()
        if fault.answer is not None:
            response: web.StreamResponse = _as_told(fault.answer)
        else:
            request[FAULT] = fault
            response = await self._authorised(request, path, handler)
        if fault.delay_answer:
            await asyncio.sleep(fault.delay_answer.total_seconds())
        return _cut(request) if fault.drop == "after" else response

    async def _authorised(
        self,
        request: web.Request,
        path: str,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        # The regions are told without a token too, though not all of them; a bad token is refused.
        needed = path not in _OPEN_PATHS or (path == "/v1/regions" and given)
        if needed and not self._tokens.accepts(given):
            return web.json_response({"error": "Invalid or expired token"}, status=401)
        try:
            return await handler(request)
        except ApiRefusal as refusal:
            return refusal.answer()
        except web.HTTPException as refusal:
            return web.json_response({"error": refusal.reason.lower()}, status=refusal.status)

    def _count(self, at: float) -> bool:
        """Count this call against the limit; refused calls don't count."""
        if not self._rate_limit:
            return True
        while self._counted and self._counted[0] <= at - _WINDOW:
            self._counted.popleft()
        if len(self._counted) >= self._rate_limit:
            return False
        self._counted.append(at)
        return True


def rate_limited() -> web.Response:
    """The provider's refusal of one call too many in a minute."""
    return web.Response(status=429, text="Retry later\n")


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # goes nowhere: the connection is gone


def _is_cut(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _as_told(answer: Answer) -> web.Response:
    body, status = answer.body, answer.status
    if answer.html is not None:
        response = web.Response(status=status, text=answer.html, content_type="text/html")
    elif isinstance(body, str):
        response = web.Response(status=status, text=body)
    elif body is not None:
        response = web.Response(
            status=status, text=json.dumps(body), content_type="application/json"
        )
    elif status == 429:
        response = rate_limited()
    elif status in {502, 503, 504}:
        response = web.Response(
            status=status, text=_HTML_ERROR.format(status=status), content_type="text/html"
        )
    elif status == 500:
        response = web.json_response({"error": "Internal error occured, we're on it!"}, status=500)
    else:
        response = web.json_response({"error": f"simulated {status}"}, status=status)
    response.headers.update(answer.headers)
    return response
