"""The way of a request to an awake app and back, over real sockets."""

from aiohttp import web

from tests.proxy.world import an_app, origin, world


async def echo(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": body.decode("latin-1"),
        }
    )


async def test_request_to_an_awake_app_is_answered_by_the_app() -> None:
    async with origin(echo) as url, world(an_app(url=url)) as w:
        async with w.client.get(w.url("/hello?x=1")) as answer:
            seen = await answer.json()

        assert answer.status == 200
        assert seen["target"] == "/hello?x=1"
        assert answer.headers["X-Paastis-State"] == "awake"
