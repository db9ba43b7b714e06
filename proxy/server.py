"""What happens with a request, in order: check, route, judge by phase, then forward, hold or page.

All policy lies in the pure modules; this is the order in which they are asked.
"""

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime

from aiohttp import web

from paastis.app import App
from paastis.reasons import Reason
from proxy import gate, headers, pages, relay, traffic
from proxy.forward import Forwarder
from proxy.gate import Gate, Manner
from proxy.intake import checked_host, checked_target, wants_websocket
from proxy.meter import Meter
from proxy.own import Own
from proxy.refused import Refused
from proxy.settings import ProxySettings
from proxy.upstream import Upstream
from proxy.visit import Body, BodyStalled, Visit
from proxy.watch import Watch

log = logging.getLogger(__name__)

System = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
        self._now = now
        self._rng = rng
        self._meter = meter
        self._system = system
        self._trusted = settings.config.trusted_proxies
        self._own = Own(settings, watch=watch, now=now)
        self._forwarder = Forwarder(settings, watch=watch, upstream=upstream, meter=meter)

    def leave(self) -> None:
        """We were asked to stop: keep no connection, end the waiting pages' event streams."""
        self._forwarder.leaving = True
        self._own.leave()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """See `aiohttp.web.Server`."""
        request_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        try:
            return await self._handle(request, request_id)
        except Refused as refusal:
            return await self._refuse(request, refusal, request_id)
        except BodyStalled:
            self._meter.answered(outcome="refused", state="none")
            return await relay.send(
                request, pages.refusal(408, None, browser=False), request_id=request_id
            )

    async def _refuse(
        self, request: web.BaseRequest, refusal: Refused, request_id: str
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
        target = checked_target(request)
        host = checked_host(request)
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
            raise Refused(404, Reason.UNKNOWN_HOST)
        pairs = list(request.headers.items())
        if headers.came_round(pairs, self._settings.via_name):
            log.warning("A request for %s came round in a circle.", name)
            raise Refused(508, Reason.LOOP_DETECTED)
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
            upgrade=wants_websocket(request),
            body=Body(
                request,
                keep=self._settings.config.body_kept,
                patience=self._settings.config.body_timeout.total_seconds(),
            ),
        )
        return await self._admit(visit)

    @staticmethod
    def _id(request: web.BaseRequest, fresh: str, *, trusted: bool) -> str:
        said = headers.believed_id(request.headers.get("X-Request-Id")) if trusted else None
        return said or fresh

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
            raise Refused(way.status, way.reason, retry_after=way.retry_after)
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
            raise Refused(404, Reason.UNKNOWN_HOST)
        return app

    # --- by phase

    async def _serve(self, visit: Visit, *, counts: bool) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        deadline = begun + self._known(visit).policy.wake.timeout.total_seconds()
        while True:
            try:
                await self._watch.until_registered(deadline=deadline)
            except TimeoutError:
                raise Refused(503, Reason.WAKE_TIMED_OUT, retry_after=5) from None
            app = self._known(visit)
            if visit.tries and loop.time() >= deadline:
                raise Refused(503, Reason.WAKE_TIMED_OUT, retry_after=5)
            way = self._way(app, counts=counts)
            if way.gate is Gate.OBJECT and not self._watch.access.may_pass_drain(app.name):
                try:
                    await self._watch.met_drain(app.name, deadline=deadline)
                except TimeoutError:
                    raise Refused(503, Reason.WAKE_TIMED_OUT, retry_after=5) from None
                continue
            match way.gate:
                case Gate.REFUSE:
                    raise Refused(way.status, way.reason, retry_after=way.retry_after)
                case Gate.WAIT:
                    page = await self._wait(visit, app, deadline)
                    if page is not None:
                        return page
                    visit.waited = loop.time() - begun
                case _:
                    out = await self._forwarder.attempt(visit, app, deadline, counts=counts)
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
            raise Refused(503, Reason.NOT_WOKEN, retry_after=60)

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
                raise Refused(503, Reason.WAKING, retry_after=usual)
            case Manner.HOLD:
                await self._forwarder.hold(app, deadline)
        return None

    def _wish(self, app: App) -> None:
        self._watch.waker.wish(app.name, now=asyncio.get_running_loop().time())
        self._watch.poke()
