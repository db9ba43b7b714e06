"""The way to the apps: connections, one request and its answer, and probes.

It adds nothing of its own to a request, follows no redirect, keeps no cookie, decompresses nothing
and passes the request target on byte for byte. It tries nothing twice: who knows the visitor
decides that, from the class of the error.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from types import SimpleNamespace

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.helpers import sentinel
from aiohttp.resolver import ThreadedResolver
from multidict import CIMultiDict
from yarl import URL

from paastis.app import App
from paastis.providers.port import Verdict
from proxy.headers import Pairs

VerdictOf = Callable[[str, int, Mapping[str, str]], Verdict]
"""What an answer says about the app being stopped: (provider, status, headers) → verdict."""

_STILL_DOWN = (502, 503, 504)
_FRESH_FOR = 0.9
"""Seconds for which an idle connection is taken for alive by requests that cannot be repeated."""
_IDLE_FOR = 30.0
_PROBE_TIMEOUT = 5.0
_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_LONGEST_ANSWER_LINE = 64 * 1024


class OriginError(Exception):
    """The app gave no answer; `timed_out` tells 504 from 502."""

    timed_out = False


class Unreachable(OriginError):
    """No connection came about, so nothing of the request was sent."""

    def __init__(self, *, timed_out: bool = False) -> None:
        super().__init__()
        self.timed_out = timed_out


class Broke(OriginError):
    """The connection ended before the first byte of an answer; the request may have had effect."""

    def __init__(self, *, reused: bool) -> None:
        super().__init__()
        self.reused = reused
        """It was an idle one that the app may have closed before it saw the request."""


class TooSlow(OriginError):
    """No answer came within the time allowed."""

    timed_out = True


class LocalhostResolver(AbstractResolver):
    """The system's resolver, but names below .localhost are this machine (RFC 6761)."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See aiohttp."""
        if host == "localhost" or host.endswith(".localhost"):
            return [
                ResolveResult(
                    hostname=host,
                    host="127.0.0.1",
                    port=port,
                    family=socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            ]
        return await self._resolver.resolve(host, port, family)

    async def close(self) -> None:
        """See aiohttp."""
        await self._resolver.close()


class Deadline:
    """A time-out that begins to run when somebody says so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.scope = asyncio.timeout(None)
        self.over = False
        """The scope was left: there is nothing to wait for any more."""

    def start(self) -> None:
        """From now on."""
        if not self.over:
            self.scope.reschedule(asyncio.get_running_loop().time() + self._seconds)


async def _no_second_try(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Hide broken connections from aiohttp, which would silently repeat idempotent requests."""
    try:
        return await handler(request)
    except (
        aiohttp.ClientConnectorError,
        aiohttp.ClientSSLError,
        aiohttp.ConnectionTimeoutError,
    ) as error:
        raise Unreachable(timed_out=isinstance(error, TimeoutError)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise Broke(reused=False) from error


class Upstream:
    """All connections to apps. Use as an async context manager."""

    def __init__(
        self,
        *,
        connect_timeout: float,
        answer_timeout: float,
        verdict: VerdictOf,
        via_name: str,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._answer_timeout = answer_timeout
        self._verdict = verdict
        self._via = f"1.1 {via_name}"
        self._ssl = ssl_context or ssl.create_default_context()
        self._sessions: list[aiohttp.ClientSession] = []

    async def __aenter__(self) -> "Upstream":
        self._any, self._recent, self._new = self._sessions = [
            self._session(_IDLE_FOR),
            self._session(_FRESH_FOR),
            self._session(None),
        ]
        return self

    async def __aexit__(self, *args: object) -> None:
        for session in self._sessions:
            await session.close()

    def _session(self, idle_for: float | None) -> aiohttp.ClientSession:
        """A pool whose connections may be idle so long; None: each is used once."""
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                force_close=idle_for is None,
                keepalive_timeout=sentinel if idle_for is None else idle_for,
                ssl=self._ssl,
                resolver=LocalhostResolver(),
                ttl_dns_cache=30,
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTOMATIC,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
            trace_configs=[trace],
            middlewares=(_no_second_try,),
            max_line_size=_LONGEST_ANSWER_LINE,
            max_field_size=_LONGEST_ANSWER_LINE,
            max_headers=512,
        )

    async def send(
        self,
        base: str,
        *,
        method: str,
        target: str,
        headers: Pairs,
        body: Callable[[], AsyncIterator[bytes]] | None,
        repeatable: bool,
        fresh: bool = False,
        upgrade: bool = False,
    ) -> aiohttp.ClientResponse:
        """Send a request to the app at `base` and wait for the head of its answer.

        `target` is the request target as it came. `repeatable` requests may use any idle
        connection, others one that was used a moment ago; `fresh` ones always open a new one.
        Raises `Unreachable`, `Broke`, `TooSlow`.
        """
        deadline = Deadline(self._answer_timeout)

        async def watched(stream: Callable[[], AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
            async for chunk in stream():
                yield chunk
            deadline.start()

        used = SimpleNamespace(reused=False)
        session = self._new if fresh else self._any if repeatable else self._recent
        try:
            async with deadline.scope:
                if body is None:
                    deadline.start()
                return await session.request(
                    method,
                    target_url(base, target),
                    headers=CIMultiDict(_writable(headers)),
                    data=None if body is None else watched(body),
                    allow_redirects=False,
                    read_until_eof=not upgrade,
                    trace_request_ctx=used,
                )
        except Broke as error:
            raise Broke(reused=used.reused) from error
        except TimeoutError as error:
            raise TooSlow from error
        finally:
            deadline.over = True  # an app may answer before it has read the whole body

    def verdict(self, app: App, status: int, headers: Mapping[str, str]) -> Verdict:
        """What the app's provider makes of an answer."""
        return self._verdict(app.provider, status, headers)

    async def probe(self, app: App) -> bool:
        """Whether the app's own front answers."""
        if app.url is None:
            return True
        wake = app.policy.wake
        headers: Pairs = [("User-Agent", "paastis"), ("Accept", "*/*"), ("Via", self._via)]
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT):
                answer = await self.send(
                    app.url,
                    method="GET",
                    target=wake.ready_path,
                    headers=headers,
                    body=None,
                    repeatable=True,
                    fresh=True,
                )
        except (OriginError, TimeoutError):
            return False
        try:
            if self.verdict(app, answer.status, answer.headers) is Verdict.STOPPED:
                return False
            if wake.ready_status:
                return answer.status in wake.ready_status
            return answer.status not in _STILL_DOWN
        finally:
            answer.close()


def notice_dead_peers(connection: socket.socket | None) -> None:
    """Make the system ask after 60 s of silence whether the other end still lives."""
    if connection is not None and hasattr(socket, "TCP_KEEPIDLE"):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    notice_dead_peers(made)
    return made


def target_url(base: str, target: str) -> URL:
    """The URL that makes aiohttp write `target` as it is: all of it counts as the path."""
    parts = URL(base)
    return URL.build(
        scheme=parts.scheme,
        host=parts.raw_host or "",
        port=parts.explicit_port,
        path=target,
        encoded=True,
    )


def host_header(base: str) -> str:
    """The Host of an app's own address."""
    parts = URL(base)
    host = parts.host_subcomponent or ""
    return host if parts.is_default_port() or parts.port is None else f"{host}:{parts.port}"


def _writable(headers: Pairs) -> Pairs:
    """Headers that aiohttp can write: bytes that are no UTF-8 become Latin-1 letters.

    aiohttp hands such bytes over as surrogates, and drops them silently when writing.
    """
    return [(name, readable(value)) for name, value in headers]


def readable(value: str) -> str:
    """A header value without surrogates."""
    if value.isascii():
        return value
    return "".join(
        chr(ord(char) - 0xDC00) if 0xDC80 <= ord(char) <= 0xDCFF else char for char in value
    )


async def _note_reuse(
    session: aiohttp.ClientSession,  # noqa: ARG001 - aiohttp's signature
    context: SimpleNamespace,
    params: aiohttp.TraceConnectionReuseconnParams,  # noqa: ARG001 - aiohttp's signature
) -> None:
    context.trace_request_ctx.reused = True
