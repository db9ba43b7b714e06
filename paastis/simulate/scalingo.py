"""Scalingo's HTTP API over the pretend platform: authentication side and regional side on one listener.

The default region answers at the root, each region also below `/<region>`, as `GET /v1/regions` says.
Where the provider's reference is silent, the likeliest variant was chosen and its function says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from aiohttp import web

from paastis.simulate import scalingo_json as as_json
from paastis.simulate.app import ProcessSpec
from paastis.simulate.gate import FAULT
from paastis.simulate.scalingo_history import ScalingoHistory, app_of, by_id, region_of
from paastis.simulate.spec import DEFAULT_REGION
from paastis.simulate.wire import ApiRefusal, answer, json_body, written
from paastis.simulate.world import OWNER, Busy, NoChange, UnknownType, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from paastis.simulate.app import App
    from paastis.simulate.tokens import Tokens

_TOO_MANY = (
    f"can't scale over {as_json.MOST_CONTAINERS} containers,"
    " contact us at support@scalingo.com if you need more"
)


class ScalingoApi:
    """The handlers. `url_of` tells where an app's visitors go."""

    def __init__(self, *, world: World, tokens: Tokens, url_of: Callable[[App], str]) -> None:
        self._world = world
        self._tokens = tokens
        self._url_of = url_of
        self._history = ScalingoHistory(world)

    def routes(self) -> list[web.RouteDef]:
        """Every route, at the root and below the name of a region."""
        table = [
            ("GET", "/apps", self.list_apps),
            ("GET", "/apps/{app}", self.show_app),
            ("PATCH", "/apps/{app}", self.change_app),
            ("GET", "/apps/{app}/containers", self.list_formation),
            ("GET", "/apps/{app}/ps", self.list_containers),
            ("POST", "/apps/{app}/scale", self.scale),
            ("POST", "/apps/{app}/restart", self.restart),
            ("GET", "/apps/{app}/operations/{id}", self.show_operation),
            ("GET", "/apps/{app}/autoscalers", self.list_autoscalers),
            ("GET", "/apps/{app}/autoscalers/{id}", self.show_autoscaler),
            ("PATCH", "/apps/{app}/autoscalers/{id}", self.change_autoscaler),
            ("GET", "/features/container_sizes", self.list_sizes),
            *self._history.routes(),
        ]
        routes = [
            web.route("POST", "/v1/tokens/exchange", self.exchange),
            web.route("GET", "/v1/users/self", self.show_self),
            web.route("GET", "/v1/regions", self.list_regions),
        ]
        for method, path, handler in table:
            routes.append(web.route(method, f"/v1{path}", handler))
            routes.append(web.route(method, f"/{{region}}/v1{path}", handler))
        return routes

    # --- authentication side ---------------------------------------------------------------

    async def exchange(self, request: web.Request) -> web.Response:
        """Sell a bearer token."""
        bearer = self._tokens.exchange(request.headers.get("Authorization", ""))
        if bearer is None:
            raise ApiRefusal(401, error="Invalid credentials")
        return written({"token": bearer})

    async def show_self(self, _request: web.Request) -> web.Response:
        """The account that the token belongs to."""
        return answer({"user": as_json.user(OWNER) | {"fullname": "Demo Account"}})

    async def list_regions(self, request: web.Request) -> web.Response:
        """The regions in use. Without a token, those that aren't open to everybody are hidden."""
        names = sorted({DEFAULT_REGION} | {app.region for app in self._world.apps()})
        if "Authorization" not in request.headers:
            names = [name for name in names if "secnum" not in name]
        root = f"{request.scheme}://{request.host}"
        return answer(
            {
                "regions": [
                    {
                        "name": name,
                        "display_name": f"Simulated {name}",
                        "api": root if name == DEFAULT_REGION else f"{root}/{name}",
                        "database_api": f"{root}/{name}/databases",
                        "dashboard": root,
                        "ssh": f"ssh.{name}.localhost:22",
                        "default": name == DEFAULT_REGION,
                    }
                    for name in names
                ]
            }
        )

    # --- apps --------------------------------------------------------------------------------

    async def list_apps(self, request: web.Request) -> web.Response:
        """All apps of the region in one answer: there are no pages."""
        apps = self._world.apps(region_of(request))
        return answer({"apps": [as_json.app(a, self._url_of(a)) for a in apps]})

    async def show_app(self, request: web.Request) -> web.Response:
        """One app."""
        app = app_of(self._world, request)
        return answer({"app": as_json.app(app, self._url_of(app))})

    async def change_app(self, request: web.Request) -> web.Response:
        """Switch one of an app's settings."""
        app = app_of(self._world, request)
        changes = (await json_body(request)).get("app")
        if not isinstance(changes, dict):
            raise ApiRefusal(400, error="'app' should be defined")
        for name in ("router_logs", "force_https", "sticky_session"):
            if name in changes:
                app.settings[name] = changes[name] is True
        return written({"app": as_json.app(app, self._url_of(app))})

    async def list_formation(self, request: web.Request) -> web.Response:
        """The formation, with the types at 0."""
        return answer({"containers": as_json.formation(app_of(self._world, request))})

    async def list_containers(self, request: web.Request) -> web.Response:
        """The live containers."""
        app = app_of(self._world, request)
        return answer({"containers": [as_json.container(app, c) for c in app.containers]})

    async def scale(self, request: web.Request) -> web.Response:
        """Change the formation.

        Checked in this order: the body, unknown types, limits, busy, no change. The wording for a
        size that does not exist is a guess; that for a busy app other than `is booting` too.
        """
        app = app_of(self._world, request)
        wanted = _wanted(await json_body(request), app)
        fault = request.get(FAULT)
        try:
            operation = self._world.scale(
                app, wanted, fails=fault.operation_error if fault else None
            )
        except Busy as busy:
            raise ApiRefusal(422, errors={"app": [f"is {busy}"]}) from None
        except NoChange:
            raise ApiRefusal(400, error="no change in containers formation") from None
        body = {"containers": as_json.formation(app)}
        if operation is None:
            return written(body)
        return written(body, status=202, location=_operation_url(request, app, operation.id))

    async def restart(self, request: web.Request) -> web.Response:
        """Replace containers by new ones; the body of the answer is empty."""
        app = app_of(self._world, request)
        scope = (await json_body(request)).get("scope")
        types = [str(name) for name in scope] if isinstance(scope, list) else None
        try:
            operation = self._world.restart(app, types)
        except UnknownType as unknown:
            raise ApiRefusal(422, errors={"scope": [f"{unknown}: no such process type"]}) from None
        except Busy as busy:
            raise ApiRefusal(422, errors={"app": [f"is {busy}"]}) from None
        return web.Response(
            status=202,
            headers={
                "Location": _operation_url(request, app, operation.id),
                "Cache-Control": "no-cache",
            },
        )

    async def show_operation(self, request: web.Request) -> web.Response:
        """How far an operation is."""
        app = app_of(self._world, request)
        operation = app.operations.get(request.match_info["id"])
        if operation is None or operation.kind == "deployment":
            raise ApiRefusal(404, resource="operation", error="not found")
        return answer({"operation": as_json.operation(app, operation)})

    # --- autoscalers -------------------------------------------------------------------------

    async def list_autoscalers(self, request: web.Request) -> web.Response:
        """The app's autoscalers, disabled ones included."""
        app = app_of(self._world, request)
        return answer({"autoscalers": [as_json.autoscaler(app, a) for a in app.autoscalers]})

    async def show_autoscaler(self, request: web.Request) -> web.Response:
        """One autoscaler."""
        app = app_of(self._world, request)
        found = by_id(app.autoscalers, request, "autoscaler")
        return answer({"autoscaler": as_json.autoscaler(app, found)})

    async def change_autoscaler(self, request: web.Request) -> web.Response:
        """Change an autoscaler. Clients send the changes with and without a wrapping key."""
        app = app_of(self._world, request)
        found = by_id(app.autoscalers, request, "autoscaler")
        body = await json_body(request)
        wrapped = body.get("autoscaler")
        changes = wrapped if isinstance(wrapped, dict) else body
        minimum = changes.get("min_containers", found.minimum)
        maximum = changes.get("max_containers", found.maximum)
        if not _is_count(minimum) or minimum < 2:
            raise ApiRefusal(422, errors={"min_containers": ["must be greater than or equal to 2"]})
        if not _is_count(maximum) or not minimum <= maximum <= as_json.MOST_CONTAINERS:
            raise ApiRefusal(422, errors={"max_containers": ["is invalid"]})
        found.minimum, found.maximum = minimum, maximum
        found.metric = str(changes.get("metric", found.metric))
        target = changes.get("target")
        if isinstance(target, int | float):
            found.target = float(target)
        if "disabled" in changes:
            found.disabled = changes["disabled"] is True
        return written({"autoscaler": as_json.autoscaler(app, found)})

    async def list_sizes(self, _request: web.Request) -> web.Response:
        """The sizes that containers come in."""
        return answer({"container_sizes": [as_json.container_size(name) for name in as_json.SIZES]})


def _operation_url(request: web.Request, app: App, operation_id: str) -> str:
    region = request.match_info.get("region")
    root = f"{request.scheme}://{request.host}" + (f"/{region}" if region else "")
    return f"{root}/v1/apps/{app.name}/operations/{operation_id}"


def _wanted(body: dict[str, object], app: App) -> dict[str, ProcessSpec]:
    """What a scale call asks for. Keys that an item has beside name, amount and size are ignored."""
    items = body.get("containers")
    if not isinstance(items, list) or not items:
        raise ApiRefusal(400, error="'containers' should be defined")
    wanted: dict[str, ProcessSpec] = {}
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise ApiRefusal(400, error="'containers' should be a list of types with a name")
        if name not in app.formation:
            raise ApiRefusal(404, resource="container_type", error="not found")
        amount, size = item.get("amount"), item.get("size")
        if amount is not None and (not _is_count(amount) or amount < 0):
            raise ApiRefusal(422, errors={f"container-{name}-amount": ["is invalid"]})
        if amount is not None and amount > as_json.MOST_CONTAINERS:
            raise ApiRefusal(422, errors={f"container-{name}-amount": [_TOO_MANY]})
        if size is not None and size not in as_json.SIZES:
            raise ApiRefusal(422, errors={f"container-{name}-size": ["is invalid"]})
        wanted[name] = ProcessSpec(amount, size)
    return wanted


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
