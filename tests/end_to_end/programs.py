"""Runs our programs as processes of their own, and asks them what they know.

Each lives in a directory made for one test, with an environment that holds what the test gives and
nothing else. Output goes to files, so that a full pipe never stops a program.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp
import yaml

if TYPE_CHECKING:
    import signal
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

PAASTIS = str(Path(sys.executable).with_name("paastis"))
"""The program as it is installed beside the Python that runs the tests."""

SOURCES = str(Path(__file__).parents[2])
"""The tree that these tests belong to: the programs run from it, wherever else one is installed."""

TOKEN = "tk-us-simulated"

BROWSER = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}
"""What a browser says when somebody opens an address."""

QUICK = {
    "START_AND_STOP_MAX_IDLE_TIME": "3s",
    "START_AND_STOP_ACCESS_RESOLUTION": "1s",
    "START_AND_STOP_DRAIN_TIME": "1s",
    "PROVIDER_SCALINGO_CALLS_PER_MINUTE": "6000",
}
"""Short times, and a budget that is nobody's matter."""

_POLL = 0.05
_Found = TypeVar("_Found")
Json = dict[str, Any]


async def until(
    look: Callable[[], Awaitable[_Found]], *, what: str, within: float = 20.0
) -> _Found:
    """What `look` finds once that is neither false nor empty; fails with `what` after the deadline."""
    ends = time.monotonic() + within
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > ends:
            raise AssertionError(f"not within {within:g} s: {what} (last seen: {found!r})")
        await asyncio.sleep(_POLL)


async def throughout(look: Callable[[], Awaitable[object]], *, what: str, seconds: float) -> None:
    """Fails as soon as `look` finds something false within that time."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = await look()
        assert found, f"not all the time: {what} (seen: {found!r})"
        await asyncio.sleep(_POLL)


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections.

    Programs that are started again need the same one, so they cannot take any free one themselves.
    """
    lots = random.Random(os.getpid() ^ time.monotonic_ns())
    while True:
        port = lots.randrange(10_000, 32_000)
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


def environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """A program's whole environment."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": SOURCES,
        **settings,
    }


class Program:
    """One process, its output in a file, killed at the end of its block if it still runs."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, directory: Path, settings: Mapping[str, str]
    ) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.directory = directory
        self.settings = dict(settings)
        self._log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        """Everything it has said so far, errors included, restarts included."""
        if not self._log.exists():
            return ""  # it was never launched
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start the process, without waiting for anything."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PAASTIS, *self.arguments],
                cwd=self.directory,
                env=environment(self.directory, self.settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, *, within: float = 15.0) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        ends = time.monotonic() + within
        while self._process.poll() is None:
            assert time.monotonic() < ends, f"still running after {within:g} s:\n{self.output}"
            await asyncio.sleep(0.02)
        return self._process.returncode

    async def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            await self.ended()


class Simulator(Program):
    """`paastis simulate scalingo`, and its control interface."""

    def __init__(
        self,
        directory: Path,
        http: aiohttp.ClientSession,
        *,
        apps: Sequence[Json] | None,
        options: Sequence[str],
    ) -> None:
        self.port, self.front_port = free_port(), free_port()
        arguments = [
            *("simulate", "scalingo"),
            *("--listen", f"127.0.0.1:{self.port}"),
            *("--front-listen", f"127.0.0.1:{self.front_port}"),
            *options,
        ]
        if apps is not None:
            file = directory / "apps.yml"
            file.write_text(yaml.safe_dump({"apps": list(apps)}), encoding="utf-8")
            arguments += ["--apps", str(file)]
        super().__init__("simulator", arguments, directory=directory, settings={})
        self._http = http

    @property
    def url(self) -> str:
        """Where both APIs and the control interface are."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Launch, and wait until it answers."""
        self.launch()

        async def answers() -> bool:
            assert self.exit_code is None, self.output
            with suppress(aiohttp.ClientConnectionError):
                await self.apps()
                return True
            return False

        await until(answers, what="the simulator answers")

    async def _control(self, method: str, path: str, body: object = None) -> Any:
        async with self._http.request(method, f"{self.url}/_sim{path}", json=body) as answer:
            assert answer.status < 300, await answer.text()
            return None if answer.status == 204 else await answer.json()

    async def apps(self) -> dict[str, Json]:
        """The truth about all apps, by name."""
        return {app["name"]: app for app in await self._control("GET", "/apps")}

    async def app(self, name: str) -> Json:
        """The truth about one app."""
        found: Json = await self._control("GET", f"/apps/{name}")
        return found

    async def formation(self, name: str) -> dict[str, tuple[int, str]]:
        """Amount and size of each process type."""
        processes = (await self.app(name))["formation"]
        return {kind: (spec["amount"], spec["size"]) for kind, spec in processes.items()}

    async def change(self, method: str, path: str, body: object = None) -> None:
        """A person's hand."""
        await self._control(method, path, body)

    async def fault(self, match: str, **what: object) -> None:
        """Let matching calls go wrong."""
        await self._control("POST", "/faults", {"match": match, **what})

    async def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        await self._control("DELETE", "/faults")

    async def calls(self) -> list[Json]:
        """Every API call so far, oldest first."""
        found: list[Json] = await self._control("GET", "/requests")
        return found

    async def scales(self, name: str) -> list[Json]:
        """The calls that asked for another formation of an app: its stops and starts."""
        paths = {f"/v1/apps/{key}/scale" for key in (name, (await self.app(name))["id"])}
        return [
            call
            for call in await self.calls()
            if call["method"] == "POST" and call["path"] in paths
        ]

    async def changing_calls(self) -> list[Json]:
        """The calls that are more than looking; trading the token for another is not."""
        return [
            call
            for call in await self.calls()
            if call["method"] != "GET" and call["path"] != "/v1/tokens/exchange"
        ]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a visitor got."""

    status: int
    headers: Mapping[str, str]
    body: str
    seconds: float
    """How long it took."""


class Served(Program):
    """A program that serves visitors on one port, health and metrics on another."""

    def __init__(
        self,
        name: str,
        http: aiohttp.ClientSession,
        *,
        arguments: Sequence[str],
        directory: Path,
        settings: Mapping[str, str],
        ports: tuple[int, int],
    ) -> None:
        super().__init__(name, arguments, directory=directory, settings=settings)
        self.port, self.system_port = ports
        self._http = http

    @property
    def url(self) -> str:
        """Where visitors go; the Host header says to which app."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def system_url(self) -> str:
        """Health, metrics, system API."""
        return f"http://127.0.0.1:{self.system_port}"

    async def start(self) -> None:
        """Launch, and wait until it is ready."""
        self.launch()
        await until(self.ready, what=f"{self.name} is ready")

    async def ready(self) -> bool:
        """What /readyz says; fails if the program has ended."""
        assert self.exit_code is None, self.output
        with suppress(aiohttp.ClientConnectionError):
            async with self._http.get(f"{self.system_url}/readyz") as answer:
                return answer.status == 200
        return False

    def host(self, app: str) -> dict[str, str]:
        """The header that leads to an app."""
        return {"Host": f"{app}.localhost:{self.port}"}

    async def visit(
        self,
        app: str,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        """One request to an app, redirects not followed."""
        begun = time.monotonic()
        async with self._http.request(
            method,
            self.url + path,
            headers={**self.host(app), **(headers or {})},
            allow_redirects=False,
            **more,
        ) as answer:
            body = await answer.text(errors="replace")
        return Answer(answer.status, answer.headers, body, time.monotonic() - begun)

    async def metrics(self) -> str:
        """What Prometheus would read."""
        async with self._http.get(f"{self.system_url}/metrics") as answer:
            return await answer.text()


class Paastis(Served):
    """`paastis run` on the simulator, as visitors and its command line meet it."""

    def __init__(
        self,
        directory: Path,
        http: aiohttp.ClientSession,
        *,
        arguments: Sequence[str],
        settings: Mapping[str, str],
    ) -> None:
        port, system_port = free_port(), free_port()
        super().__init__(
            "paastis",
            http,
            arguments=[
                *("run", "--host", "127.0.0.1", "--port", str(port)),
                *("--set", f"ROUTING_SYSTEM_API_PORT={system_port}"),
                *arguments,
            ],
            directory=directory,
            settings=settings,
            ports=(port, system_port),
        )

    async def _ask(self, method: str, path: str) -> Any:
        socket_path = str(self.directory / "paastis.db.sock")
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket_path)) as session,
            session.request(method, f"http://paastis{path}") as answer,
        ):
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def records(self) -> dict[str, Json]:
        """What it knows of all apps, by remote name."""
        return {app["app_name"]: app for app in await self._ask("GET", "/apps")}

    async def record(self, app: str) -> Json:
        """What it knows of one app."""
        found: Json = await self._ask("GET", f"/apps/{app}")
        return found

    async def accounts(self) -> list[Json]:
        """How its accounts stand."""
        found: list[Json] = await self._ask("GET", "/accounts")
        return found

    async def order(self, app: str, word: str) -> None:
        """`paastis wake` or `paastis sleep`."""
        await self._ask("POST", f"/apps/{app}/{word}")

    async def reaches(self, app: str, *phases: str, within: float = 20.0) -> Json:
        """Its record of the app, once that is in one of the phases."""

        async def look() -> Json | None:
            record = await self.record(app)
            return record if record["phase"] in phases else None

        try:
            found = await until(look, what=f"{app} is {' or '.join(phases)}", within=within)
        except AssertionError as error:
            error.add_note(self.output)
            raise
        assert found is not None
        return found

    async def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of ours with the same directory and environment."""
        return await command(*arguments, directory=self.directory, settings=self.settings)


async def command(
    *arguments: str, directory: Path, settings: Mapping[str, str] | None = None, within: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end."""
    return await asyncio.to_thread(
        subprocess.run,
        [PAASTIS, *arguments],
        cwd=directory,
        env=environment(directory, settings or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


@dataclass
class World:
    """A simulated provider with one paastis or several on it. Use it as an `async with` block."""

    directory: Path
    http: aiohttp.ClientSession
    apps: Sequence[Json] | None = None
    options: Sequence[str] = ("--boot-time", "500ms", "--stop-time", "100ms", "--rate-limit", "0")
    programs: list[Program] = field(default_factory=list)
    sim: Simulator = field(init=False)

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.sim = Simulator(self.directory, self.http, apps=self.apps, options=self.options)
        self.programs.append(self.sim)
        await self.sim.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for program in reversed(self.programs):
            await program.kill()
        if error is not None:
            for program in self.programs[1:]:
                error.add_note(f"--- {' '.join(program.arguments)}\n{program.output[-6000:]}")

    def credentials(self) -> dict[str, str]:
        """What everybody has to set, with the simulator's two addresses."""
        return {
            "PROVIDER_NAME": "scalingo",
            "PROVIDER_SCALINGO_API_TOKEN": TOKEN,
            "PROVIDER_SCALINGO_API_URL": self.sim.url,
            "PROVIDER_SCALINGO_AUTH_URL": self.sim.url,
        }

    def prepare(self, *arguments: str, rules: str | None = None, **settings: str) -> Paastis:
        """A paastis that has not been launched yet."""
        if rules is not None:
            (self.directory / "paastis.yml").write_text(rules, encoding="utf-8")
        paastis = Paastis(
            self.directory,
            self.http,
            arguments=arguments,
            settings={**self.credentials(), **settings},
        )
        self.programs.append(paastis)
        return paastis

    async def run(self, *arguments: str, rules: str | None = None, **settings: str) -> Paastis:
        """A paastis that is ready."""
        paastis = self.prepare(*arguments, rules=rules, **settings)
        await paastis.start()
        return paastis


def app(name: str, *, status: str = "running", **more: object) -> Json:
    """An app with one web process, for the simulator's file."""
    formation = {"web": {"amount": 1, "size": "M"}}
    return {"name": name, "status": status, "formation": formation, **more}


def most_in_a_minute(calls: Sequence[Json]) -> int:
    """The most calls within any 60 seconds."""
    times = sorted(call["time"] for call in calls)
    return max(
        (sum(begin <= at < begin + 60 for at in times) for begin in times),
        default=0,
    )


def by_kind(calls: Sequence[Json]) -> Counter[str]:
    """How many calls of each method and path."""
    return Counter(f"{call['method']} {call['path']}" for call in calls)
