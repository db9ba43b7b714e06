"""`/_sim`: the truth about the pretend platform, and hands to change it, for tests and the curious."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from paastis.simulate.app import FOREVER
from paastis.simulate.apps_file import AppsError, parse_app, parse_formation
from paastis.simulate.faults import Faults, parse_fault
from paastis.simulate.gate import CONTROL_PREFIX, Gate
from paastis.simulate.scalingo_json import autoscaler
from paastis.simulate.world import SOMEBODY, Busy, NameTaken, NoChange, UnknownType, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from paastis.simulate.app import App
    from paastis.simulate.tokens import Tokens


class Control:
    """The handlers of the control interface. An app in a path may be a name or an id; where a name
    exists in several regions, `?region=` tells which."""

    def __init__(
        self,
        *,
        world: World,
        faults: Faults,
        tokens: Tokens,
        gate: Gate,
        url_of: Callable[[App], str],
    ) -> None:
        self._world = world
        self._faults = faults
        self._tokens = tokens
        self._gate = gate
        self._url_of = url_of

    def routes(self) -> list[web.RouteDef]:
        """Every route."""
        table = [
            ("GET", "/apps", self.list_apps),
            ("POST", "/apps", self.add_app),
            ("GET", "/apps/{name}", self.show_app),
            ("DELETE", "/apps/{name}", self.delete_app),
            ("POST", "/apps/{name}/deploy", self.deploy),
            ("POST", "/apps/{name}/scale", self.scale),
            ("POST", "/apps/{name}/crash", self.crash),
            ("GET", "/requests", self.list_requests),
            ("DELETE", "/requests", self.forget_requests),
            ("GET", "/faults", self.list_faults),
            ("POST", "/faults", self.add_fault),
            ("DELETE", "/faults", self.clear_faults),
        ]
        return [
            web.route(method, CONTROL_PREFIX + path, _plainly(handler))
            for method, path, handler in table
        ]

    async def list_apps(self, _request: web.Request) -> web.Response:
        """The truth about every app."""
        return web.json_response([self._truth(app) for app in self._world.apps()])

    async def show_app(self, request: web.Request) -> web.Response:
        """The truth about one app."""
        return web.json_response(self._truth(self._app(request)))

    async def add_app(self, request: web.Request) -> web.Response:
        """A new app, deployed and running at once unless it says otherwise."""
        app = self._world.add(parse_app(await _body(request)))
        return web.json_response(self._truth(app), status=201)

    async def delete_app(self, request: web.Request) -> web.Response:
        """An app is no more."""
        self._world.delete(self._app(request))
        return web.Response(status=204)

    async def deploy(self, request: web.Request) -> web.Response:
        """Somebody deploys. `{"formation": {…}}` is the new Procfile."""
        app, body = self._app(request), await _body(request)
        formation = body.get("formation")
        self._world.deploy(app, None if formation is None else parse_formation(formation))
        return web.json_response(self._truth(app), status=202)

    async def scale(self, request: web.Request) -> web.Response:
        """Somebody scales by hand: `{"web": 1}` or `{"web": {"amount": 1, "size": "M"}}`."""
        app = self._app(request)
        self._world.scale(app, parse_formation(await _body(request)), by=SOMEBODY)
        return web.json_response(self._truth(app), status=202)

    async def crash(self, request: web.Request) -> web.Response:
        """Web containers crash; `{"container": "web-1"}` names another, `boot_failures` what follows."""
        app, body = self._app(request), await _body(request)
        failures = body.get("boot_failures", 0)
        if failures == "always":
            app.boot_failures = FOREVER
        elif isinstance(failures, int) and failures >= 0:
            app.boot_failures = failures
        else:
            raise ValueError(f'boot_failures is {failures!r}; expected a number, or "always"')
        label = body.get("container")
        for container in list(app.containers):
            if container.state == "running" and (
                container.type == "web" if label is None else container.label == label
            ):
                self._world.crash(app, container)
        return web.json_response(self._truth(app), status=202)

    async def list_requests(self, _request: web.Request) -> web.Response:
        """Every API call, oldest first."""
        return web.json_response([call.to_json() for call in self._gate.calls])

    async def forget_requests(self, _request: web.Request) -> web.Response:
        """Start the log of API calls anew; the rate limit forgets nothing."""
        self._gate.calls.clear()
        return web.Response(status=204)

    async def list_faults(self, _request: web.Request) -> web.Response:
        """The faults in force."""
        return web.json_response([fault.to_json() for fault in self._faults.in_force()])

    async def add_fault(self, request: web.Request) -> web.Response:
        """Let something go wrong. Expiring tokens without naming a call does so at once."""
        body = await _body(request)
        fault = parse_fault(body, self._world.clock.now())
        if body.keys() == {"expire_token"}:
            self._tokens.expire_all()
        else:
            self._faults.add(fault)
        return web.json_response(fault.to_json(), status=201)

    async def clear_faults(self, _request: web.Request) -> web.Response:
        """Nothing goes wrong any more."""
        self._faults.clear()
        return web.Response(status=204)

    def _app(self, request: web.Request) -> App:
        name = request.match_info["name"]
        app = self._world.find(name, request.query.get("region"))
        if app is None:
            raise LookupError(f"no app {name!r}")
        return app

    def _truth(self, app: App) -> dict[str, object]:
        return {
            "id": app.id,
            "name": app.name,
            "region": app.region,
            "url": self._url_of(app),
            "status": app.status,
            "deployed": app.deployed,
            "formation": {
                p.name: {"amount": p.amount, "size": p.size} for p in app.formation.values()
            },
            "containers": [
                {
                    "id": c.id,
                    "type": c.type,
                    "label": c.label,
                    "state": c.state,
                    "size": c.size,
                    "boot": c.boot,
                    "connections": len(c.cuts),
                }
                for c in app.containers
            ],
            "autoscalers": [autoscaler(app, a) for a in app.autoscalers],
        }


async def _body(request: web.Request) -> dict[str, object]:
    text = await request.text()
    try:
        data = json.loads(text) if text.strip() else {}
    except ValueError:
        raise ValueError("the body is not JSON") from None
    if not isinstance(data, dict):
        raise ValueError("the body is not a JSON object")  # noqa: TRY004 - bad input, not a bug
    return data


def _plainly(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answer refusals of the world and bad input with one sentence."""

    async def plainly(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except AppsError as error:
            return web.json_response({"error": str(error)}, status=400)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        except LookupError as error:
            return web.json_response({"error": str(error.args[0])}, status=404)
        except UnknownType as unknown:
            return web.json_response({"error": f"no process type {unknown}"}, status=404)
        except NameTaken as taken:
            return web.json_response({"error": str(taken)}, status=409)
        except Busy as busy:
            return web.json_response({"error": f"the app is {busy}"}, status=409)
        except NoChange:
            return web.json_response({"error": "everything is as asked already"}, status=409)

    return plainly
