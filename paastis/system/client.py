"""What the command line asks of the paastis that runs on this machine, over its socket."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from paastis.errors import PaastisError
from paastis.system.unixsocket import SocketPlace, SocketUnusable, check_directory, socket_place

TIMEOUT_SECONDS = 10.0
"""For a whole answer; the other side is on this machine and waits for nobody."""

Json = dict[str, Any]


class NotRunning(PaastisError):
    """No paastis answers; the message says where it was looked for."""


class OrderRefused(PaastisError):
    """The running paastis said no; the message is its sentence, `status` its HTTP status."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class SystemClient:
    """Asks the running paastis. Use it as an `async with` block.

    All methods raise `NotRunning` and `OrderRefused`. What they answer is described by the OpenAPI
    document.
    """

    def __init__(self, place: SocketPlace) -> None:
        self._path = place.path
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def beside(cls, state_file: Path | None, env: Mapping[str, str]) -> "SystemClient":
        """The client of the paastis with that state file (None: the one without)."""
        return cls(socket_place(state_file, env))

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self._path)),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def apps(self) -> list[Json]:
        """All apps, by name."""
        return self._list(await self._ask("GET", "/apps"))

    async def app(self, name: str) -> Json:
        """One app, by its record's name or its remote name."""
        return self._object(await self._ask("GET", f"/apps/{quote(name, safe='')}"))

    async def wake(self, name: str) -> Json:
        """Keep an app awake for one idle time from now; answers with the app."""
        return self._object(await self._ask("POST", f"/apps/{quote(name, safe='')}/wake"))

    async def sleep(self, name: str) -> Json:
        """Put an app to sleep now; answers with the app."""
        return self._object(await self._ask("POST", f"/apps/{quote(name, safe='')}/sleep"))

    async def accounts(self) -> list[Json]:
        """All accounts."""
        return self._list(await self._ask("GET", "/accounts"))

    async def _ask(self, method: str, path: str) -> object:
        if self._session is None:
            raise RuntimeError("The client is used outside its block.")
        # Whoever listens there learns what is ordered: it must be this user's own.
        try:
            check_directory(self._path, make=False)
            # The host means nothing on a socket.
            async with self._session.request(method, f"http://paastis{path}") as response:
                status, body = response.status, await response.read()
        except SocketUnusable as error:
            raise NotRunning(str(error)) from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, FileNotFoundError | ConnectionRefusedError):
                raise self._not_running() from error
            raise NotRunning(
                f"The socket {self._path} cannot be used: {error.os_error.strerror}."
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotRunning(
                f"The paastis at {self._path} does not answer ({str(error) or 'it took too long'})."
            ) from error
        try:
            answer: object = json.loads(body)
        except ValueError as error:
            raise self._strange() from error
        if status >= 400:
            detail = answer.get("detail") if isinstance(answer, dict) else None
            raise OrderRefused(str(detail or f"It answered {status}."), status=status)
        return answer

    def _list(self, answer: object) -> list[Json]:
        if not isinstance(answer, list):
            raise self._strange()
        return answer

    def _object(self, answer: object) -> Json:
        if not isinstance(answer, dict):
            raise self._strange()
        return answer

    def _not_running(self) -> NotRunning:
        return NotRunning(
            f"No paastis is running here: no socket answers at {self._path}. Start `paastis run`, or "
            "set REGISTRY_STATE_FILE to what the running one uses."
        )

    def _strange(self) -> NotRunning:
        return NotRunning(f"What answers at {self._path} is not paastis.")
