"""The part of Scalingo's API that only tells: domains, deployments, events, router statistics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from paastis.simulate import scalingo_json as as_json
from paastis.simulate.spec import DEFAULT_REGION
from paastis.simulate.wire import ApiRefusal, answer, number, page

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp import web

    from paastis.simulate.app import App, Event
    from paastis.simulate.world import World

_HOURS_MOST = 72


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


_T = TypeVar("_T", bound=_Identified)


def region_of(request: web.Request) -> str:
    """The region whose API was called."""
    return request.match_info.get("region", DEFAULT_REGION)


def app_of(world: World, request: web.Request) -> App:
    """The app that the path names, by name or id. Refuses with 404."""
    app = world.find(request.match_info["app"], region_of(request))
    if app is None:
        raise ApiRefusal(404, resource="app", error="not found")
    return app


def by_id(items: Iterable[_T], request: web.Request, resource: str) -> _T:
    """The item whose id the path names. Refuses with 404."""
    for item in items:
        if item.id == request.match_info["id"]:
            return item
    raise ApiRefusal(404, resource=resource, error="not found")


class ScalingoHistory:
    """Handlers of calls that change nothing."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[tuple[str, str, Callable[[web.Request], Awaitable[web.Response]]]]:
        """Method, path below `/v1`, handler."""
        return [
            ("GET", "/apps/{app}/domains", self.list_domains),
            ("GET", "/apps/{app}/deployments", self.list_deployments),
            ("GET", "/apps/{app}/deployments/{id}", self.show_deployment),
            ("GET", "/apps/{app}/events", self.list_app_events),
            ("GET", "/apps/{app}/stats/router", self.router_stats),
            ("GET", "/apps/{app}/stats/{metric}", self.container_stats),
            ("GET", "/events", self.list_events),
        ]

    async def list_domains(self, request: web.Request) -> web.Response:
        """Names of the app's own; the first is the canonical one."""
        app = app_of(self._world, request)
        domains = [
            {
                "id": f"{app.id}-{place}",
                "app_id": app.id,
                "name": name,
                "ssl": False,
                "canonical": place == 0,
                "letsencrypt": False,
                "letsencrypt_status": "new",
            }
            for place, name in enumerate(app.domains)
        ]
        return answer({"domains": domains})

    async def list_deployments(self, request: web.Request) -> web.Response:
        """Deployments, newest first, in pages."""
        app = app_of(self._world, request)
        newest_first = [as_json.deployment(app, d) for d in reversed(app.deployments)]
        return answer(page(request, "deployments", newest_first))

    async def show_deployment(self, request: web.Request) -> web.Response:
        """One deployment."""
        app = app_of(self._world, request)
        found = by_id(app.deployments, request, "deployment")
        return answer({"deployment": as_json.deployment(app, found)})

    async def list_app_events(self, request: web.Request) -> web.Response:
        """What happened to one app, newest first."""
        app = app_of(self._world, request)
        return self._tell(request, [(app, event) for event in app.events])

    async def list_events(self, request: web.Request) -> web.Response:
        """What happened to all apps of the region, newest first."""
        return self._tell(request, self._world.events(region_of(request)))

    def _tell(self, request: web.Request, oldest_first: list[tuple[App, Event]]) -> web.Response:
        told = [as_json.event(app, event) for app, event in reversed(oldest_first)]
        if "from" not in request.query:
            return answer(page(request, "events", told))
        # `from` is a number of hours to look back, and overrides the pages.
        hours = number(request, "from", default=1, lowest=1, most=_HOURS_MOST)
        now = self._world.clock.now()
        recent = [
            shown
            for shown, (_, event) in zip(told, reversed(oldest_first), strict=True)
            if (now - event.at).total_seconds() <= hours * 3600
        ]
        return answer({"events": recent})

    async def router_stats(self, request: web.Request) -> web.Response:
        """Requests that the router answered, minute by minute, oldest first; null where none.

        A never-deployed app has no statistics: 404.
        """
        app = app_of(self._world, request)
        if not app.deployed:
            raise ApiRefusal(404, error="no metrics found")
        hours = number(request, "since", default=1, lowest=1, most=_HOURS_MOST)
        wanted = request.query.get("status_code", "all")
        this_minute = int(self._world.clock.now().timestamp()) // 60
        buckets = []
        for minute in range(this_minute - hours * 60 + 1, this_minute + 1):
            counts = app.traffic.get(minute)
            value = None if counts is None else _sum(counts, wanted)
            at = datetime.fromtimestamp(minute * 60, UTC)
            buckets.append({"time": as_json.moment(at), "value": value or None})
        return answer(buckets)

    async def container_stats(self, request: web.Request) -> web.Response:
        """Processor and memory are not simulated: refused, as where there are no measurements."""
        app_of(self._world, request)
        if "container" not in request.query:
            raise ApiRefusal(400, error="'container' should be defined")
        raise ApiRefusal(404, error="no metrics found")


def _sum(counts: Counter[int], wanted: str) -> int:
    """How many answers had the wanted status: `all`, `404`, or a class such as `5XX`."""
    if wanted == "all":
        return counts.total()
    prefix = wanted.upper().rstrip("X")
    return sum(count for status, count in counts.items() if str(status).startswith(prefix))
