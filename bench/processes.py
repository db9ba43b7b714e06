"""A simulated Scalingo and a paastis as processes of their own, for the measurements."""

import asyncio
import contextlib
import os
import resource
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bench import usage

READY_WITHIN = 60.0  # seconds


@dataclass(frozen=True)
class Pair:
    """Both processes, and how to reach them. All on loopback."""

    api: str
    front: int
    port: int
    pid: int
    http: aiohttp.ClientSession

    async def visit(self, app: str) -> int:
        """A visitor's request through the proxy; returns the status."""
        headers = {"Host": f"{app}.localhost"}
        async with self.http.get(f"http://127.0.0.1:{self.port}/", headers=headers) as answer:
            await answer.read()
            return answer.status

    async def direct(self, app: str) -> int:
        """The same request to the platform's own front."""
        headers = {"Host": f"{app}.osc-fr1.localhost"}
        async with self.http.get(f"http://127.0.0.1:{self.front}/", headers=headers) as answer:
            await answer.read()
            return answer.status

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """The simulator's control interface."""
        async with self.http.request(method, f"{self.api}/_sim/{path}", json=body) as answer:
            return await answer.json() if answer.content_type == "application/json" else None

    async def scales(self) -> list[dict[str, Any]]:
        """The calls that changed a formation."""
        calls = await self.control("GET", "requests")
        return [call for call in calls if call["path"].endswith("/scale")]

    def memory(self) -> float:
        """Resident memory of paastis, MB."""
        return usage.memory(self.pid)


def free_port() -> int:
    """A port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def pair(
    apps: Sequence[Mapping[str, Any]], *, simulator: Sequence[str], settings: Mapping[str, str]
) -> AsyncIterator[Pair]:
    """Start both, wait until paastis has listed the apps, stop both at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    api, front, port, system = (free_port() for _ in range(4))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "apps.yml").write_text(yaml.safe_dump({"apps": [dict(app) for app in apps]}))
        command = [sys.executable, "-m", "paastis.cli"]
        simulate = [*command, "simulate", "scalingo", "--apps", "apps.yml"]
        simulate += [f"--listen=127.0.0.1:{api}", f"--front-listen=127.0.0.1:{front}", *simulator]
        environ = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "ROUTING_SYSTEM_API_PORT": str(system),
            "PROVIDER_NAME": "scalingo",
            "PROVIDER_SCALINGO_API_TOKEN": "tk-us-simulated",
            "PROVIDER_SCALINGO_API_URL": f"http://127.0.0.1:{api}",
            "PROVIDER_SCALINGO_AUTH_URL": f"http://127.0.0.1:{api}",
            "LOGGING_LEVEL": "ERROR",
            **settings,
        }
        quiet = asyncio.subprocess.DEVNULL
        async with contextlib.AsyncExitStack() as stack:
            for_visits = aiohttp.TCPConnector(limit=0)
            http = await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=for_visits, timeout=aiohttp.ClientTimeout(total=120)
                )
            )
            provider = await asyncio.create_subprocess_exec(*simulate, cwd=folder, stdout=quiet)
            stack.push_async_callback(_end, provider)
            await _answers(http, f"http://127.0.0.1:{api}/_sim/apps")
            paastis = await asyncio.create_subprocess_exec(
                *command, "run", cwd=folder, env=environ, stdout=quiet
            )
            stack.push_async_callback(_end, paastis)
            await _answers(http, f"http://127.0.0.1:{system}/readyz")
            yield Pair(f"http://127.0.0.1:{api}", front, port, paastis.pid, http)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _answers(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(READY_WITHIN):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    async with asyncio.timeout(40):
        await process.wait()
