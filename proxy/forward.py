"""One try of a request at its app: send, judge the answer, relay it or say "again".

Nothing of an answer is relayed before it is certain that it is the app's own.
"""

import asyncio
from contextlib import suppress

import aiohttp
from aiohttp import web

from paastis.app import App, Phase
from paastis.hosts import BadHost, parse_host
from paastis.providers.port import Verdict
from paastis.reasons import Reason
from proxy import headers, relay, tunnel
from proxy.doubts import Doubt
from proxy.hold import hold
from proxy.meter import Meter
from proxy.refused import Refused
from proxy.settings import ProxySettings
from proxy.upstream import Broke, OriginError, Unreachable, Upstream, host_header
from proxy.visit import BodyStalled, Visit
from proxy.waker import Full
from proxy.watch import Watch

_AGAIN = 0.25
"""Seconds between tries of an app that has just become ready."""
_STILL_DOWN = (502, 503, 504)


class Forwarder:
    """Forwards visits; the lane that takes its place has to do no more than this."""

    def __init__(
        self, settings: ProxySettings, *, watch: Watch, upstream: Upstream, meter: Meter
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._upstream = upstream
        self._meter = meter
        self._paces: dict[str, asyncio.Semaphore] = {}
        self.leaving = False
        """We were asked to stop: connections are not kept."""

    async def hold(self, app: App, deadline: float, *, beyond: int | None = None) -> None:
        """Return when the app is worth another try, or raise why it is not."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._meter.held(+1)
        try:
            reason = await hold(self._watch, app.name, deadline=deadline, beyond=beyond)
        except Full:
            raise Refused(503, Reason.TOO_MANY_WAITING, retry_after=10) from None
        finally:
            self._meter.held(-1)
        if reason is not None:
            raise Refused(404 if reason is Reason.DELETED else 503, reason, retry_after=10)
        self._meter.woke(loop.time() - begun)

    async def attempt(
        self, visit: Visit, app: App, deadline: float, *, counts: bool
    ) -> web.StreamResponse | None:
        """One try; None: judge again and try again."""
        if counts and self._watch.links.of(app.name):
            self._watch.waker.wish_links(app.name, now=asyncio.get_running_loop().time())
        if app.url is None:
            raise Refused(502, Reason.ORIGIN_UNREACHABLE, retry_after=30)
        visit.tries += 1
        pace = self._pace(app) if visit.waited is not None and visit.tries == 1 else None
        try:
            if pace is not None:
                async with pace:
                    answer = await self._send(visit, app, app.url)
            else:
                answer = await self._send(visit, app, app.url)
        except OriginError as error:
            await self._failed(visit, app, error, deadline, counts=counts)
            return None
        try:
            if await self._try_again(visit, app, answer, deadline, counts=counts):
                return None
            return await self._relay(visit, app, answer)
        finally:
            answer.close()

    async def _send(self, visit: Visit, app: App, url: str) -> aiohttp.ClientResponse:
        pairs = headers.request_headers(
            visit.headers,
            arrival=visit.arrival,
            app_host=host_header(url),
            request_id=visit.request_id,
            via_name=self._settings.via_name,
            origin=self._mapped_origin if app.policy.rewrite else None,
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
            if unsent and counts and await self._found_asleep(app, deadline):
                return
        reason = Reason.ORIGIN_TIMED_OUT if error.timed_out else Reason.ORIGIN_UNREACHABLE
        raise Refused(504 if error.timed_out else 502, reason, retry_after=10)

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
            # What may be the platform's page is believed to be it where the app slept when it was
            # last looked after; nobody can be asked now.
            asleep = verdict is Verdict.MAYBE and app.put_to_sleep_by_us
            if asleep or verdict is Verdict.STOPPED:
                missing = app.phase_reason is Reason.ACCOUNT_MISSING
                reason = Reason.ACCOUNT_MISSING if missing else Reason.ORIGIN_STOPPED
                raise Refused(503, reason, retry_after=60)
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
                return await self._found_asleep(app, deadline)
            case Verdict.STOPPED:
                doubt = self._report(app) if counts else Doubt.QUIET
        if doubt is Doubt.QUIET or app.phase is Phase.STARTING or not harmless:
            raise Refused(503, Reason.ORIGIN_STOPPED, retry_after=10)
        answer.close()
        await self.hold(app, deadline, beyond=app.cycle)
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

    async def _found_asleep(self, app: App, deadline: float) -> bool:
        """Whether an inspection that we ask for finds, soon, that the app is not awake."""
        if self._report(app) not in (Doubt.REPORT, Doubt.PENDING):
            return False
        patience = asyncio.get_running_loop().time() + self._settings.inspection_patience
        with suppress(TimeoutError):
            await self._watch.changed(app.name, since=app, deadline=min(patience, deadline))
        now = self._watch.apps.get(app.name)
        return now is None or now.phase not in (Phase.AWAKE, Phase.DRAINING, Phase.UNMANAGED)

    # --- the answer

    async def _relay(
        self, visit: Visit, app: App, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        base = app.url or ""
        sent = (
            self._mapped_origin(seen)
            if (seen := visit.request.headers.get("Origin")) is not None
            else None
        )
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
