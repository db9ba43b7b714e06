"""The platform's router: sends a visitor to a web container of the app that the Host names.

Where no container runs it answers 503 with a page of its own. Nothing but the text tells that page
from a 503 of the app itself, because the provider documents no marker either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aiohttp import web

from paastis.simulate.origin import SERVER, serve

if TYPE_CHECKING:
    from paastis.simulate.app import App
    from paastis.simulate.world import World

Booting = Literal["page", "refuse"]
"""What a visitor gets while containers boot: the 503 page, or a connection that breaks."""

DOMAIN = "localhost"
"""App names end in it; clients resolve them to this machine (RFC 6761, section 6.3)."""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""
_STOPPED = _PAGE.format(title="Application stopped", text="No container of this application runs.")
_BOOTING = _PAGE.format(title="Application unavailable", text="This application is being started.")
_UNKNOWN = _PAGE.format(title="Application not found", text="No application answers to this name.")


def host_of(app: App) -> str:
    """The name that the platform gives to an app, without the port."""
    return f"{app.name}.{app.region}.{DOMAIN}"


class Front:
    """The handler of the front listener."""

    def __init__(self, world: World, *, booting: Booting = "page") -> None:
        self._world = world
        self._booting = booting

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and count it for the app's router statistics."""
        app = self._app_at(request.host)
        if app is None:
            return _page(404, _UNKNOWN)
        status = 0
        try:
            response = await self._route(request, app)
            status = response.status
        finally:
            # A visitor that left before the answer was complete counts too, under status 0.
            self._world.count_request(app, status)
        return response

    def _app_at(self, host: str) -> App | None:
        name = host.lower()
        if not name.endswith("]"):
            name = name.rpartition(":")[0] or name
        own, dot, domain = name.rpartition(".")
        if dot and domain == DOMAIN:
            app_name, _, region = own.partition(".")
            app = self._world.find(app_name, region)
            if app is not None and app.name == app_name:
                return app
        return self._world.at_domain(name)

    async def _route(self, request: web.BaseRequest, app: App) -> web.StreamResponse:
        running = app.web_containers()
        if not running:
            return self._no_container(request, app)
        app.turn += 1
        container = running[app.turn % len(running)]
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the visitor left")
        container.cuts.add(transport.abort)
        try:
            return await serve(request, app, container, lambda: self._world.crash(app, container))
        except ConnectionError:
            # The visitor left, or the container was stopped under the request.
            transport.abort()
            return web.Response()
        finally:
            container.cuts.discard(transport.abort)

    def _no_container(self, request: web.BaseRequest, app: App) -> web.Response:
        if not any(c.type == "web" and c.state == "booting" for c in app.containers):
            return _page(503, _STOPPED)
        if self._booting == "refuse" and request.transport is not None:
            request.transport.abort()
        return _page(503, _BOOTING)


def _page(status: int, text: str) -> web.Response:
    return web.Response(
        status=status, text=text, content_type="text/html", headers={"Server": SERVER}
    )
