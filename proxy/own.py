"""What we serve ourselves: the waiting page's address and events, and the list of apps."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from urllib.parse import parse_qs

from aiohttp import ClientConnectionResetError, web

from paastis.app import App, Phase
from paastis.reasons import Reason
from proxy import gate, pages, relay, traffic
from proxy.gate import Gate
from proxy.hold import Outcome, enter, hold
from proxy.settings import ProxySettings
from proxy.waker import Full
from proxy.watch import Watch

_HELD_PAGE = 5.0
"""Seconds that a refresh of the waiting page is held before it shows the page again."""
_LONGEST_EVENTS = 600.0
"""Seconds after which a waiting page's event stream gives up."""


class Own:
    """Answers below `/.well-known/paastis/` and on `localhost`."""

    def __init__(
        self, settings: ProxySettings, *, watch: Watch, now: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._now = now
        self._streams: set[Outcome] = set()

    def leave(self) -> None:
        """End all event streams; the pages connect again, elsewhere."""
        for answer in self._streams:
            if not answer.done():
                answer.set_result(Reason.SHUTTING_DOWN)

    async def index(
        self, request: web.BaseRequest, target: str, *, request_id: str
    ) -> web.StreamResponse:
        """The list of apps, for visitors on this machine."""
        browser = traffic.is_navigation(request.method, request.headers)
        if target.partition("?")[0] != "/":
            answer = pages.refusal(404, Reason.UNKNOWN_HOST, browser=browser)
        elif request.method not in ("GET", "HEAD"):
            answer = pages.refusal(405, None, browser=browser)
        else:
            _, _, port = request.headers["Host"].partition(":")
            suffix = f":{port}" if port else ""
            bases = self._settings.config.base_domains or ("localhost",)
            answer = pages.list_page(
                list(self._watch.apps.values()),
                address=lambda app: f"http://{pages.label(app).lower()}.{bases[0]}{suffix}/",
                now=self._now(),
            )
        return await relay.send(request, answer, request_id=request_id)

    async def answer(
        self, request: web.BaseRequest, target: str, name: str | None, *, request_id: str
    ) -> web.StreamResponse:
        """Everything below our path; `name` is the app of the host, if it is one's."""
        path, _, query = target.partition("?")
        browser = traffic.is_navigation(request.method, request.headers)
        app = None if name is None else self._watch.apps.get(name)
        if app is None or path not in (pages.WAIT, pages.EVENTS):
            answer = pages.refusal(404, Reason.UNKNOWN_HOST, browser=browser)
        elif request.method != "GET":
            answer = pages.refusal(405, None, browser=browser)
        elif path == pages.EVENTS:
            return await self._events(request, app)
        else:
            answer = await self._wait(app, query)
        return await relay.send(request, answer, request_id=request_id)

    # --- without JavaScript

    async def _wait(self, app: App, query: str) -> pages.Answer:
        """The waiting page again, a way on, or what went wrong."""
        given = parse_qs(query, keep_blank_values=True).get("to", ["/"])
        to = pages.safe_target(given[0]) if len(given) == 1 else None
        if to is None:
            return pages.refusal(
                400, None, browser=True, text="The address to go on to is not a path on this host."
            )
        loop = asyncio.get_running_loop()
        failure = await self._settled(app, deadline=loop.time() + _HELD_PAGE)
        if failure is None:
            return pages.Answer(
                303,
                (("Location", to), ("Cache-Control", "no-store"), ("Content-Type", "text/plain")),
                b"",
            )
        if failure is Reason.WAKE_TIMED_OUT:
            now = self._watch.apps.get(app.name, app)
            return pages.waiting_page(now, to=to, since=self._waking_for(now))
        status = 404 if failure is Reason.DELETED else 503
        return pages.refusal(status, failure, browser=True, retry_after=30, again=to)

    def _waking_for(self, app: App) -> float:
        if app.phase is not Phase.STARTING or app.phase_since is None:
            return 0.0
        return max(0.0, (self._now() - app.phase_since).total_seconds())

    async def _settled(self, app: App, *, deadline: float) -> Reason | None:
        """Wait as a visitor does: None when the app is up, else why not."""
        way = self._way(app)
        if way.gate is Gate.REFUSE:
            return way.reason
        if way.gate is not Gate.WAIT:
            return None
        try:
            return await hold(self._watch, app.name, deadline=deadline)
        except Full:
            return Reason.TOO_MANY_WAITING

    def _way(self, app: App) -> gate.Way:
        return gate.judge(
            app,
            counts=True,
            ready=self._watch.waker.is_ready(app),
            controller_away=self._watch.controller_away(),
            now=self._now(),
        )

    # --- with JavaScript

    async def _events(self, request: web.BaseRequest, app: App) -> web.StreamResponse:
        """Tell the waiting page what happens until the app is up or cannot be."""
        out = relay.Forwarded(
            200,
            None,
            [
                ("Content-Type", "text/event-stream"),
                ("Cache-Control", "no-store"),
                ("X-Accel-Buffering", "no"),
            ],
        )
        out.force_close()
        await out.prepare(request)
        loop = asyncio.get_running_loop()
        answer: Outcome = loop.create_future()
        self._streams.add(answer)
        way = self._way(app)
        leave = None
        if way.gate is Gate.REFUSE:
            answer.set_result(way.reason)
        elif way.gate is not Gate.WAIT:
            answer.set_result(None)
        else:
            until = loop.time() + _LONGEST_EVENTS
            try:
                leave = enter(self._watch, app.name, answer, deadline=until)
            except Full:
                answer.set_result(Reason.TOO_MANY_WAITING)
        try:
            await out.write(b"retry: 2000\n\n")
            await self._tell(out, app.name, answer)
            if (reason := answer.result()) is None:
                await out.write(pages.event("ready", {}))
            elif reason is not Reason.SHUTTING_DOWN:  # else it reconnects, elsewhere
                told = {"reason": reason.value, "text": pages.sentence(reason)}
                await out.write(pages.event("failed", told))
            await out.write_eof()
        except ClientConnectionResetError:
            pass  # the page was closed
        finally:
            self._streams.discard(answer)
            if leave is not None:
                leave()
        return out

    async def _tell(self, out: web.StreamResponse, name: str, answer: Outcome) -> None:
        """Send the app's steps, and a comment where nothing happens for long."""
        told = None
        while not answer.done():
            app = self._watch.apps.get(name)
            if app is None:
                return
            state = pages.step(app)
            if state != told:
                told = state
                await out.write(pages.event("state", {"step": state[0], "text": state[1]}))
                continue
            news = asyncio.ensure_future(
                self._watch.news(name, within=self._settings.page_heartbeat)
            )
            try:
                await asyncio.wait((news, answer), return_when=asyncio.FIRST_COMPLETED)
                if news.done() and not news.result():
                    await out.write(b": still waiting\n\n")
            finally:
                news.cancel()
