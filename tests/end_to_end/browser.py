"""A headless Chromium, driven over its DevTools protocol: open an address, look, take a picture.

The protocol is JSON over a WebSocket: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import pytest

from tests.end_to_end.programs import until

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

MISSING = "Chromium is not installed: apt-get install chromium"


def chromium() -> str:
    """Where the browser is; the test is skipped without one, or fails if all parts are required."""
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("PAASTIS_REQUIRE_ALL") == "1":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return found


class Browser:
    """One window. Use it as an `async with` block; `directory` keeps its profile."""

    def __init__(
        self, directory: Path, http: aiohttp.ClientSession, *, javascript: bool = True
    ) -> None:
        self._directory = directory
        self._http = http
        self._javascript = javascript
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._ws: aiohttp.ClientWebSocketResponse | None = None

    async def __aenter__(self) -> Self:
        self._process = self._launch()
        try:
            page = await until(self._page, what="the browser is there", within=30)
            assert page is not None
            self._ws = await self._http.ws_connect(page, max_msg_size=0, autoping=True)
            await self._order("Page.enable")
        except BaseException:
            await self._end()
            raise
        return self

    def _launch(self) -> subprocess.Popen[bytes]:
        program = chromium()
        self._directory.mkdir(parents=True, exist_ok=True)
        flags = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--disable-quic", "--no-first-run", "--disable-background-networking"),
            *("--disable-component-update", "--disable-sync", "--hide-scrollbars"),
            *("--remote-debugging-port=0", f"--user-data-dir={self._directory}"),
            *([] if self._javascript else ["--blink-settings=scriptEnabled=false"]),
        ]
        return subprocess.Popen(
            [program, *flags, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        if self._ws is not None:
            await self._ws.close()
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, 10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait, 10)

    async def _page(self) -> str | None:
        """The address of the window's WebSocket, once the browser has said where it listens."""
        with suppress(OSError, ValueError, aiohttp.ClientConnectionError):
            told = (self._directory / "DevToolsActivePort").read_text(encoding="utf-8")
            port = int(told.splitlines()[0])
            async with self._http.get(f"http://127.0.0.1:{port}/json/list") as answer:
                for target in await answer.json():
                    if target["type"] == "page":
                        return str(target["webSocketDebuggerUrl"])
        return None

    async def _order(self, method: str, **parameters: object) -> dict[str, Any]:
        assert self._ws is not None
        number = next(self._numbers)
        await self._ws.send_json({"id": number, "method": method, "params": parameters})
        while True:
            told = await self._ws.receive_json(timeout=20)
            if told.get("id") == number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    async def dress(self, *, dark: bool, width: int = 1000, height: int = 700) -> None:
        """How the person likes it: the colour scheme, the size of the window."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._order("Emulation.setEmulatedMedia", features=[scheme])
        await self._order(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def open(self, address: str) -> None:
        """Type an address."""
        await self._order("Page.navigate", url=address)

    async def text(self) -> str:
        """What a person can read or have read to them; hidden parts are not in it.

        Nothing while a document is replaced by the next one.
        """
        with suppress(AssertionError):
            tree = await self._order("Accessibility.getFullAXTree")
            names = (
                str(node.get("name", {}).get("value", ""))
                for node in tree["nodes"]
                if not node["ignored"]
            )
            return "\n".join(names)
        return ""

    async def shows(self, *texts: str, within: float = 20.0) -> str:
        """What it shows, once that contains one of the texts."""

        async def look() -> str:
            shown = await self.text()
            return shown if any(text in shown for text in texts) else ""

        wanted = " or ".join(repr(text) for text in texts)
        return await until(look, what=f"the browser shows {wanted}", within=within)

    async def address(self) -> str:
        """Where it is now."""
        history = await self._order("Page.getNavigationHistory")
        return str(history["entries"][history["currentIndex"]]["url"])

    async def picture(self, file: Path) -> None:
        """What the person sees, as PNG."""
        taken = await self._order("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(taken["data"]))
