"""The CLI's socket: where it is, who may open it, and what its client says when it is not there."""

import asyncio
import importlib.util
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from paastis.app import Phase
from paastis.system.api import SystemApi
from paastis.system.client import NotRunning, OrderRefused, SystemClient
from paastis.system.server import CommandSocket
from paastis.system.unixsocket import LONGEST_PATH, SocketPlace, socket_place
from tests.paastis.registry.contract import an_app, soon
from tests.paastis.system.conftest import World, given


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose path is short enough for a socket."""
    directory = tmp_path_factory.mktemp("s")
    assert len(str(directory)) < LONGEST_PATH - 20
    return directory


@pytest.fixture
def place(short: Path) -> SocketPlace:
    return socket_place(short / "paastis.db", {})


@pytest.fixture
def closed_api(world: World) -> SystemApi:
    """The API as it is without any switch set."""
    return SystemApi(world.instance())


@pytest.fixture
async def client(closed_api: SystemApi, place: SocketPlace) -> AsyncIterator[SystemClient]:
    async with CommandSocket(closed_api, place), SystemClient(place) as client:
        yield client


async def test_command_line_may_do_everything_whatever_the_switch_says(
    world: World, client: SystemClient
) -> None:
    await given(world, an_app(phase=Phase.AWAKE, cycle=2))
    assert [app["name"] for app in await client.apps()] == ["shop"]
    assert (await client.app("shop"))["cycle"] == 2
    assert (await client.sleep("shop"))["overrides"]["sleep_for"] == 2
    assert (await client.wake("shop"))["overrides"]["awake_until"] == "2026-03-02T12:15:00Z"
    assert [account["name"] for account in await client.accounts()] == ["main"]


async def test_refusal_is_a_sentence(client: SystemClient) -> None:
    with pytest.raises(OrderRefused, match="No app is called 'no/body'") as caught:
        await client.wake("no/body")
    assert caught.value.status == 404


async def test_socket_is_beside_the_state_file_for_this_user_alone(
    closed_api: SystemApi, short: Path
) -> None:
    place = socket_place(short / "paastis.db", {})
    assert place == SocketPlace(short / "paastis.db.sock")
    async with CommandSocket(closed_api, place) as listening:
        assert listening.path == place.path
        found = place.path.lstat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600
    assert not place.path.exists()
    assert os.listdir(short) == []  # noqa: PTH208 - one look, in a test


def stale_socket(path: Path) -> None:
    """What a killed process leaves behind."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


async def test_stale_socket_is_replaced(closed_api: SystemApi, place: SocketPlace) -> None:
    stale_socket(place.path)
    stale_socket(place.path.with_name(place.path.name + ".new"))
    async with CommandSocket(closed_api, place), SystemClient(place) as client:
        assert await client.apps() == []


async def test_socket_of_a_running_paastis_is_left_alone(
    world: World, closed_api: SystemApi, place: SocketPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async with CommandSocket(closed_api, place):
        async with CommandSocket(SystemApi(world.instance()), place) as second:
            assert second.path is None
            assert "Another paastis answers" in caplog.text
        async with SystemClient(place) as client:
            assert await client.apps() == []


async def test_file_that_is_no_socket_is_left_alone(
    closed_api: SystemApi, place: SocketPlace, caplog: pytest.LogCaptureFixture
) -> None:
    place.path.write_text("precious")
    async with CommandSocket(closed_api, place) as listening:
        assert listening.path is None
    assert "no socket" in caplog.text
    assert place.path.read_text() == "precious"


def test_too_long_a_path_falls_back_with_a_warning(short: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(short)}
    at_limit = short / ("x" * (LONGEST_PATH - len(str(short)) - 1 - len(".sock")))
    assert socket_place(at_limit, env) == SocketPlace(Path(f"{at_limit}.sock"))
    beyond = Path(f"{at_limit}y")
    place = socket_place(beyond, env)
    assert place.path.parent == short
    assert place.warning is not None
    assert f"{beyond}.sock" in place.warning
    assert socket_place(Path(f"{at_limit}z"), env).path != place.path


async def test_warning_of_the_fallback_is_logged_and_the_client_finds_it(
    closed_api: SystemApi, short: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env, state_file = {"XDG_RUNTIME_DIR": str(short)}, short / ("deep" * 30) / "paastis.db"
    async with (
        CommandSocket(closed_api, socket_place(state_file, env)),
        SystemClient.beside(state_file, env) as client,
    ):
        assert await client.apps() == []
    assert "too long for a socket" in caplog.text


async def test_without_state_file_the_runtime_directory_is_used(
    closed_api: SystemApi, short: Path
) -> None:
    env = {"TMPDIR": str(short)}
    place = socket_place(None, env)
    assert place.path == short / f"paastis-{os.geteuid()}" / "paastis.sock"
    async with CommandSocket(closed_api, place), SystemClient.beside(None, env) as client:
        assert stat.S_IMODE(place.path.parent.stat().st_mode) == 0o700
        assert await client.apps() == []
    assert socket_place(None, {"XDG_RUNTIME_DIR": "/run/me"}).path == Path("/run/me/paastis.sock")


async def test_directory_that_others_may_write_is_not_trusted(
    closed_api: SystemApi, short: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = socket_place(None, {"TMPDIR": str(short)})
    place.path.parent.mkdir()
    place.path.parent.chmod(0o777)
    async with CommandSocket(closed_api, place) as listening:
        assert listening.path is None
    assert "not a directory of this user alone" in caplog.text
    async with SystemClient(place) as client:
        with pytest.raises(NotRunning, match="not a directory of this user alone"):
            await client.apps()


@pytest.mark.parametrize("stale", [False, True])
async def test_client_says_that_nothing_runs(place: SocketPlace, stale: bool) -> None:
    if stale:
        stale_socket(place.path)
    async with SystemClient(place) as client:
        with pytest.raises(NotRunning, match="No paastis is running here") as caught:
            await client.apps()
    assert str(place.path) in str(caught.value)


async def test_client_says_that_something_else_answers(place: SocketPlace) -> None:
    async def other(request: web.BaseRequest) -> web.Response:
        return web.Response(text="<html>")

    runner = web.ServerRunner(web.Server(other))
    await runner.setup()
    await web.UnixSite(runner, str(place.path)).start()
    try:
        async with SystemClient(place) as client:
            with pytest.raises(NotRunning, match="is not paastis"):
                await client.apps()
    finally:
        await runner.cleanup()


async def test_client_does_not_wait_for_ever(
    place: SocketPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paastis.system.client.TIMEOUT_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place.path))
        silent.listen()
        async with SystemClient(place) as client:
            with pytest.raises(NotRunning, match="does not answer"):
                await soon(client.apps())


async def test_socket_works_on_uvloop_too(short: Path) -> None:
    if importlib.util.find_spec("uvloop") is None:
        missing = "uvloop is not installed: pip install 'paastis[fast]'"
        if os.environ.get("PAASTIS_REQUIRE_ALL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    import uvloop

    async def story() -> None:
        place = socket_place(short / "paastis.db", {})
        async with (
            CommandSocket(SystemApi(World().instance()), place),
            SystemClient(place) as client,
        ):
            assert await client.apps() == []

    def on_uvloop() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(story())

    await asyncio.to_thread(on_uvloop)
