"""`paastis demo`, as the README begins."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.programs import Program, command, until

if TYPE_CHECKING:
    from pathlib import Path

FREE = ["--port", "0", "--system-port", "0"]


@pytest.mark.timeout(90)
async def test_demo_once_plays_the_whole_story_within_a_minute(directory: Path) -> None:
    ended = await command("demo", "--once", *FREE, directory=directory, within=70)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "The whole story went as it should." in ended.stdout
    assert "✗" not in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_demo_tells_its_addresses_and_ends_cleanly(
    directory: Path, number: signal.Signals
) -> None:
    demo = Program("demo", ["demo", *FREE], directory=directory, settings={})
    demo.launch()
    try:

        async def told() -> bool:
            return "my-app is awake" in demo.output

        await until(told, what="the demo tells what it found")
        assert "http://my-app.localhost:" in demo.output
        demo.send(number)
        assert await demo.ended() == 0
        assert "Ended." in demo.output
        assert "Traceback" not in demo.output
    finally:
        await demo.kill()
