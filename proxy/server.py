"""What happens with a request, in order: check, route, judge by phase, then forward, hold or page.

All policy lies in the pure modules; this is the order in which they are asked.
"""

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

import aiohttp
from aiohttp import web

from paastis.app import App, Phase
from paastis.hosts import BadHost, parse_host
from paastis.providers.port import Verdict
from paastis.reasons import Reason
from proxy import gate, headers, pages, relay, traffic, tunnel
from proxy.doubts import Doubt
from proxy.gate import Gate, Manner
from proxy.meter import Meter
from proxy.own import Own
from proxy.settings import ProxySettings
from proxy.upstream import Broke, OriginError, Unreachable, Upstream, host_header
from proxy.visit import Body, BodyStalled, Visit
from proxy.waker import Full
from proxy.watch import Watch

log = logging.getLogger(__name__)

System = Callable[[web.Request], Awaitable[web.StreamResponse]]

_AGAIN = 0.25
"""Seconds between tries of an app that has just become ready."""
_STILL_DOWN = (502, 503, 504)


class _Refused(Exception):
    """Ends a request with an answer of ours."""

    def __init__(
        self,
        status: int,
        reason: Reason | None,
        *,
        retry_after: int | None = None,
        text: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.text = text


class Front:
    """The handler of all requests."""

    def __init__(
        self,
        settings: ProxySettings,
        *,
        watch: Watch,
        upstream: Upstream,
        now: Callable[[], datetime],
        rng: random.Random,
        meter: Meter,
        system: System | None,
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._upstream = upstream
        self._now = now
        self._rng = rng
        self._meter = meter
        self._system = system
        self._trusted = traffic.networks(settings.trusted_proxies)
        self._paces: dict[str, asyncio.Semaphore] = {}
        self._own = Own(settings, watch=watch, now=now)
        self.leaving = False
        """We were asked to stop: connections are not kept."""

    def leave(self) -> None:
        """We were asked to stop: keep no connection, end the waiting pages' event streams."""
        self.leaving = True
        self._own.leave()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """See `aiohttp.web.Server`."""
        request_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        try:
            return await self._handle(request, request_id)
        except _Refused as refusal:
            return await self._refuse(request, refusal, request_id)
        except BodyStalled:
            self._meter.answered(outcome="refused", state="none")
            return await relay.send(
                request, pages.refusal(408, None, browser=False), request_id=request_id
            )

    async def _refuse(
        self, request: web.BaseRequest, refusal: _Refused, request_id: str
    ) -> web.StreamResponse:
        browser = traffic.is_navigation(request.method, request.headers)
        again = pages.safe_target(request.raw_path) if refusal.status in (502, 503, 504) else None
        answer = pages.refusal(
            refusal.status,
            refusal.reason,
            browser=browser,
            retry_after=refusal.retry_after,
            text=refusal.text,
            again=again,
        )
        self._meter.answered(outcome="refused", state="none")
        return await relay.send(request, answer, request_id=request_id)

    # --- check and route

    async def _handle(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        target = self._checked_target(request)
        host = self._checked_host(request)
        peer = request.remote or ""
        trusted = traffic.within(peer, self._trusted)
        address = headers.visitor_address(
            peer,
            ", ".join(request.headers.getall("X-Forwarded-For", ())) if trusted else "",
            is_trusted=lambda one: traffic.within(one, self._trusted),
        )
        if self._system is not None and request.headers.get(headers.SYSTEM_TARGET) == "system":
            assert isinstance(request, web.Request)  # noqa: S101 - made so by the server
            return await self._system(request)
        name = self._watch.routes.find(host)
        if target.startswith(pages.OURS):
            self._meter.answered(outcome="own", state="none")
            return await self._own.answer(request, target, name, request_id=request_id)
        if name is None:
            if host == "localhost" and traffic.is_loopback(address):
                self._meter.answered(outcome="own", state="none")
                return await self._own.index(request, target, request_id=request_id)
            raise _Refused(404, Reason.UNKNOWN_HOST)
        pairs = list(request.headers.items())
        if headers.came_round(pairs, self._settings.via_name):
            log.warning("A request for %s came round in a circle.", name)
            raise _Refused(508, Reason.LOOP_DETECTED)
        visit = Visit(
            request=request,
            method=request.method,
            target=target,
            headers=pairs,
            arrival=headers.Arrival(
                peer=peer,
                scheme=request.scheme,
                host=request.headers["Host"],
                trusted=trusted,
                version="1.0" if request.version < (1, 1) else "1.1",
            ),
            address=address,
            request_id=self._id(request, request_id, trusted=trusted),
            name=name,
            navigation=traffic.is_navigation(request.method, request.headers),
            upgrade=_wants_websocket(request),
            body=Body(
                request, keep=self._settings.kept_bytes, patience=self._settings.body_timeout
            ),
        )
        return await self._admit(visit)

    @staticmethod
    def _id(request: web.BaseRequest, fresh: str, *, trusted: bool) -> str:
        said = headers.believed_id(request.headers.get("X-Request-Id")) if trusted else None
        return said or fresh

    @staticmethod
    def _checked_target(request: web.BaseRequest) -> str:
        if request.method == "CONNECT":
            raise _Refused(405, None, text="CONNECT is not possible here.")
        target = request.raw_path
        if not target.startswith("/"):
            # Absolute form is fine if it says what Host says (RFC 9112, section 3.2.2).
            scheme, colon, rest = target.partition("://")
            authority, slash, path = rest.partition("/")
            named = request.headers.get("Host", "")
            if not colon or scheme.lower() not in ("http", "https"):
                raise _Refused(400, None, text="The request target is not a path.")
            if authority.lower() != named.lower():
                raise _Refused(400, Reason.BAD_HOST)
            target = slash + path or "/"
        if "#" in target:
            raise _Refused(400, None, text="The request target has a fragment.")
        try:
            target.encode()
        except UnicodeEncodeError:
            raise _Refused(400, None, text="The request target is not UTF-8.") from None
        return target

    @staticmethod
    def _checked_host(request: web.BaseRequest) -> str:
        hosts = request.headers.getall("Host", ())
        if len(hosts) != 1:
            raise _Refused(400, Reason.BAD_HOST)
        encodings = request.headers.getall("Transfer-Encoding", ())
        chunked = [value.strip().lower() for value in encodings] == ["chunked"]
        if encodings and (not chunked or request.version < (1, 1)):
            raise _Refused(400, None, text="This transfer encoding is not possible here.")
        if encodings and "Content-Length" in request.headers:
            raise _Refused(400, None, text="The length of the body is given twice.")
        try:
            return parse_host(hosts[0])
        except BadHost:
            raise _Refused(400, Reason.BAD_HOST) from None

    # --- use

    async def _admit(self, visit: Visit) -> web.StreamResponse:
        """Count the request as a use for as long as it lasts, if it is one."""
        app = self._known(visit)
        use = traffic.counts(
            app.policy.ignore_access,
            method=visit.method,
            path=visit.path,
            headers=visit.request.headers,
            address=visit.address,
        )
        # Who is refused at once has not used the app: he must not keep it awake either.
        way = self._way(app, counts=use)
        if way.gate is Gate.REFUSE:
            raise _Refused(way.status, way.reason, retry_after=way.retry_after)
        if way.gate is Gate.WAIT:
            self._check_waker(visit, app)
        if not use:
            return await self._serve(visit, counts=False)
        ticket = self._watch.begin(visit.name)
        self._meter.opened(+1)
        try:
            return await self._serve(visit, counts=True)
        finally:
            self._watch.end(ticket)
            self._meter.opened(-1)

    def _known(self, visit: Visit) -> App:
        app = self._watch.apps.get(visit.name)
        if app is None:
            raise _Refused(404, Reason.UNKNOWN_HOST)
        return app

    # --- by phase

    async def _serve(self, visit: Visit, *, counts: bool) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        deadline = begun + self._known(visit).policy.wake.timeout.total_seconds()
        while True:
            app = self._known(visit)
            if visit.tries and loop.time() >= deadline:
                raise _Refused(503, Reason.WAKE_TIMED_OUT, retry_after=5)
            way = self._way(app, counts=counts)
            if way.gate is Gate.OBJECT and not self._watch.access.may_pass_drain(app.name):
                try:
                    await self._watch.met_drain(app.name, deadline=deadline)
                except TimeoutError:
                    raise _Refused(503, Reason.WAKE_TIMED_OUT, retry_after=5) from None
                continue
            match way.gate:
                case Gate.REFUSE:
                    raise _Refused(way.status, way.reason, retry_after=way.retry_after)
                case Gate.WAIT:
                    page = await self._wait(visit, app, deadline)
                    if page is not None:
                        return page
                    visit.waited = loop.time() - begun
                case _:
                    out = await self._forward(visit, app, deadline, counts=counts)
                    if out is not None:
                        return out

    def _way(self, app: App, *, counts: bool) -> gate.Way:
        return gate.judge(
            app,
            counts=counts,
            ready=self._watch.waker.is_ready(app),
            controller_away=self._watch.controller_away(),
            now=self._now(),
        )

    @staticmethod
    def _check_waker(visit: Visit, app: App) -> None:
        if not traffic.may_wake(app.policy.wake.by, visit.method, visit.request.headers):
            raise _Refused(503, Reason.NOT_WOKEN, retry_after=60)

    async def _wait(self, visit: Visit, app: App, deadline: float) -> web.StreamResponse | None:
        """Ask for the wake and wait, or answer at once: then that answer."""
        self._check_waker(visit, app)
        wake = app.policy.wake
        target = pages.safe_target(visit.target)
        page = visit.navigation and not visit.upgrade and target is not None
        match gate.manner(wake.mode, page=page):
            case Manner.PAGE:
                self._wish(app)
                self._meter.answered(outcome="page", state="waking")
                answer = pages.waiting_page(app, to=target or "/", since=0.0)
                return await relay.send(visit.request, answer, request_id=visit.request_id)
            case Manner.REJECT:
                self._wish(app)
                usual = 5 if app.usual_boot is None else round(app.usual_boot.total_seconds()) + 1
                raise _Refused(503, Reason.WAKING, retry_after=usual)
            case Manner.HOLD:
                await self._hold(app, deadline)
        return None

    def _wish(self, app: App) -> None:
        self._watch.waker.wish(app.name, now=asyncio.get_running_loop().time())
        self._watch.poke()

    async def _hold(self, app: App, deadline: float, *, beyond: int | None = None) -> None:
        """Return when the app is worth another try."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        answer: asyncio.Future[Reason | None] = loop.create_future()

        def settle(reason: Reason | None) -> None:
            if not answer.done():
                answer.set_result(reason)

        try:
            cancel = self._watch.waker.wait(
                app.name, deadline, lambda: settle(None), settle, now=begun, beyond=beyond
            )
        except Full:
            raise _Refused(503, Reason.TOO_MANY_WAITING, retry_after=10) from None
        self._watch.poke()
        self._meter.held(+1)
        try:
            reason = await answer
        finally:
            cancel()
            self._meter.held(-1)
        if reason is not None:
            raise _Refused(404 if reason is Reason.DELETED else 503, reason, retry_after=10)
        self._meter.woke(loop.time() - begun)

    # --- forward

    async def _forward(
        self, visit: Visit, app: App, deadline: float, *, counts: bool
    ) -> web.StreamResponse | None:
        """One try; None: judge again and try again."""
        if counts and self._watch.links(app.name):
            self._watch.waker.wish_links(app.name, now=asyncio.get_running_loop().time())
        if app.url is None:
            raise _Refused(502, Reason.ORIGIN_UNREACHABLE, retry_after=30)
        visit.tries += 1
        pace = self._pace(app) if visit.waited is not None and visit.tries == 1 else None
        try:
            if pace is not None:
                async with pace:
                    answer = await self._send(visit, app.url)
            else:
                answer = await self._send(visit, app.url)
        except OriginError as error:
            await self._failed(visit, app, error, deadline, counts=counts)
            return None
        try:
            if await self._try_again(visit, app, answer, deadline, counts=counts):
                return None
            return await self._relay(visit, app, answer)
        finally:
            answer.close()

    async def _send(self, visit: Visit, url: str) -> aiohttp.ClientResponse:
        rewrite = self._known(visit).policy.rewrite
        pairs = headers.request_headers(
            visit.headers,
            arrival=visit.arrival,
            app_host=host_header(url),
            request_id=visit.request_id,
            via_name=self._settings.via_name,
            origin=self._mapped_origin if rewrite else None,
        )
        if visit.upgrade:
            pairs += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        return await self._upstream.send(
            url,
            method=visit.method,
            target=visit.target,
            headers=pairs,
            body=visit.body.stream if visit.body.exists else None,
            repeatable=visit.repeatable and visit.body.small,
            fresh=visit.tries > 1,
            upgrade=visit.upgrade,
        )

    def _mapped_origin(self, origin: str) -> str | None:
        """The Origin of a managed public host as the app's own; None: it is none of ours."""
        _, _, authority = origin.partition("://")
        try:
            name = self._watch.routes.find(parse_host(authority))
        except BadHost:
            return None
        app = None if name is None else self._watch.apps.get(name)
        return None if app is None or app.url is None else headers.origin_of(app.url)

    def _pace(self, app: App) -> asyncio.Semaphore:
        """Lets only so many released requests of an app rush at it at once."""
        pace = self._paces.get(app.name)
        if pace is None:
            pace = self._paces[app.name] = asyncio.Semaphore(self._settings.released_at_once)
        return pace

    async def _failed(
        self, visit: Visit, app: App, error: OriginError, deadline: float, *, counts: bool
    ) -> None:
        """The app gave no answer: return to try again, or raise what the visitor is told."""
        if visit.body.stalled:
            raise BodyStalled
        unsent = isinstance(error, Unreachable) and visit.body.replayable
        if unsent or visit.repeatable:
            if isinstance(error, Broke) and error.reused and visit.tries == 1:
                return
            if self._just_ready(app) or (unsent and visit.tries == 1):
                await asyncio.sleep(_AGAIN)
                return
            if unsent and counts and await self._found_asleep(visit, app, deadline):
                return
        reason = Reason.ORIGIN_TIMED_OUT if error.timed_out else Reason.ORIGIN_UNREACHABLE
        raise _Refused(504 if error.timed_out else 502, reason, retry_after=10)

    def _just_ready(self, app: App) -> bool:
        since = self._watch.waker.ready_since(app.name)
        age = None if since is None else asyncio.get_running_loop().time() - since
        return age is not None and age < self._settings.ready_grace

    async def _try_again(
        self,
        visit: Visit,
        app: App,
        answer: aiohttp.ClientResponse,
        deadline: float,
        *,
        counts: bool,
    ) -> bool:
        """Whether to keep the answer back: it is not the app's own, or the app is just booting."""
        verdict = self._upstream.verdict(app, answer.status, answer.headers)
        if app.phase is Phase.UNMANAGED:
            if verdict is Verdict.STOPPED:
                raise _Refused(503, Reason.ORIGIN_STOPPED, retry_after=60)
            return False
        # A stopped front did nothing with the request, so any method may be tried again.
        harmless = visit.repeatable or (verdict is Verdict.STOPPED and visit.body.replayable)
        if answer.status in _STILL_DOWN and harmless and self._just_ready(app):
            answer.close()
            await asyncio.sleep(_AGAIN)
            return True
        match verdict:
            case Verdict.NO:
                return False
            case Verdict.MAYBE if not counts:
                return False
            case Verdict.MAYBE if not harmless:
                self._report(app)
                return False
            case Verdict.MAYBE:
                return await self._found_asleep(visit, app, deadline)
            case Verdict.STOPPED:
                doubt = self._report(app) if counts else Doubt.QUIET
        if doubt is Doubt.QUIET or app.phase is Phase.STARTING or not harmless:
            raise _Refused(503, Reason.ORIGIN_STOPPED, retry_after=10)
        answer.close()
        await self._hold(app, deadline, beyond=app.cycle)
        return True

    def _report(self, app: App) -> Doubt:
        """Make the controller look at the app, unless it did so, or is asked to, already."""
        clock = asyncio.get_running_loop().time()
        doubt = self._watch.doubts.about(app, clock)
        if doubt is Doubt.REPORT:
            self._watch.doubts.reported(app, clock)
            self._watch.waker.report(app.name, now=clock)
            self._watch.poke()
        return doubt

    async def _found_asleep(self, visit: Visit, app: App, deadline: float) -> bool:
        """Whether an inspection that we ask for finds, soon, that the app is not awake."""
        if self._report(app) not in (Doubt.REPORT, Doubt.PENDING):
            return False
        patience = asyncio.get_running_loop().time() + self._settings.inspection_patience
        with suppress(TimeoutError):
            await self._watch.changed(app.name, since=app, deadline=min(patience, deadline))
        return self._known(visit).phase not in (Phase.AWAKE, Phase.DRAINING, Phase.UNMANAGED)

    # --- the answer

    async def _relay(
        self, visit: Visit, app: App, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        base = app.url or ""
        sent = self._mapped_origin(seen) if (seen := _origin(visit)) is not None else None
        pairs = headers.answer_headers(
            list(answer.headers.items()),
            app_origin=headers.origin_of(base) or base,
            rewrite=app.policy.rewrite,
            origin_seen=seen,
            origin_sent=sent,
        )
        state = "awake" if visit.waited is None else "woken"
        pairs.append((headers.STATE, state))
        if visit.waited is not None:
            pairs.append(("Server-Timing", f"paastis-wake;dur={visit.waited * 1000:.0f}"))
        switched = answer.status == 101
        if switched:
            pairs += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        out = relay.Forwarded(answer.status, answer.reason, pairs)
        if self.leaving or visit.upgrade:
            out.force_close()
        self._meter.answered(outcome="forwarded", state=state)
        if switched:
            await out.prepare(visit.request)
            await tunnel.relay(visit.request, out, answer, max_idle=app.policy.max_tunnel_idle)
        else:
            await relay.relay(visit.request, answer, out)
        return out


def _origin(visit: Visit) -> str | None:
    return visit.request.headers.get("Origin")


def _wants_websocket(request: web.BaseRequest) -> bool:
    return (
        request.method == "GET"
        and request.version >= (1, 1)
        and request.headers.get("Upgrade", "").strip().lower() == "websocket"
        and "upgrade" in headers.named_by_connection(request.headers.items())
    )
