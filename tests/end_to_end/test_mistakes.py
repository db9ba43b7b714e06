"""Mistakes of people: one clear message each, exit code 2, never a stack."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.programs import TOKEN, app, command, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.end_to_end.conftest import NewWorld

NOWHERE = "http://127.0.0.1:1"
"""Nothing listens there: whoever gets that far would not exit with 2."""

FINE = {
    "PROVIDER_NAME": "scalingo",
    "PROVIDER_SCALINGO_API_TOKEN": TOKEN,
    "PROVIDER_SCALINGO_API_URL": NOWHERE,
    "PROVIDER_SCALINGO_AUTH_URL": NOWHERE,
    "HOST": "127.0.0.1",
    "PORT": "0",
    "ROUTING_SYSTEM_API_PORT": "0",
}

MISTAKES: dict[str, tuple[dict[str, str], str | None, list[list[str]]]] = {
    # name: (variables, paastis.yml, for each expected line what it has to name)
    "bad cron": (
        {"START_AND_STOP_CHECKING_INTERVAL_CRON": "every minute"},
        None,
        [["START_AND_STOP_CHECKING_INTERVAL_CRON", "'every minute'", "expected"]],
    ),
    "unknown key": (
        {},
        "rules:\n  - pattern: 'a.*'\n    max_idle_tyme: 3\n",
        [["paastis.yml", "line 3", "max_idle_tyme"]],
    ),
    "bad regular expression": (
        {},
        "rules:\n  - pattern: 'app-(\\d+'\n",
        [["paastis.yml", "line 2", "app-("]],
    ),
    "missing token": (
        {"PROVIDER_SCALINGO_API_TOKEN": ""},
        None,
        [["PROVIDER_SCALINGO_API_TOKEN", "expected"]],
    ),
    "provider that is not there": ({"PROVIDER_NAME": "azure"}, None, [["PROVIDER_NAME", "azure"]]),
    "two problems at once": (
        {"PORT": "eighty", "START_AND_STOP_MAX_IDLE_TIME": "soon"},
        None,
        [["PORT", "'eighty'"], ["START_AND_STOP_MAX_IDLE_TIME", "'soon'"]],
    ),
    "file that is not there": ({"PAASTIS_CONFIG": "rules.yml"}, None, [["rules.yml"]]),
    "address that leaks the token": (
        {"PROVIDER_SCALINGO_API_URL": "http://api.example.com"},
        None,
        [["PROVIDER_SCALINGO_API_URL", "http://api.example.com"]],
    ),
}


@pytest.mark.parametrize(
    ("word", "mistake"), [*(("run", mistake) for mistake in MISTAKES), ("check", "unknown key")]
)
async def test_mistake_is_told_in_one_line_each_and_exit_2(
    directory: Path, word: str, mistake: str
) -> None:
    variables, rules, expected = MISTAKES[mistake]
    if rules is not None:
        (directory / "paastis.yml").write_text(rules, encoding="utf-8")

    ended = await command(word, directory=directory, settings={**FINE, **variables})

    assert ended.returncode == 2, ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) == len(expected), ended.stderr
    for line, names in zip(lines, expected, strict=True):
        assert line.startswith("paastis: ")
        for name in names:
            assert name in line
    assert TOKEN not in ended.stdout + ended.stderr


@pytest.mark.parametrize("file", ["paastis.yml", ".env"])
async def test_file_that_cannot_be_read_is_told(directory: Path, file: str) -> None:
    (directory / file).mkdir()  # unreadable for root too

    ended = await command("run", directory=directory, settings=FINE)

    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert file in ended.stderr


async def test_state_file_that_is_something_else_is_told_and_left_as_it_is(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[app("shop")]) as world:
        file = world.directory / "paastis.db"
        file.write_text("not a database, but somebody's notes\n" * 100, encoding="utf-8")
        before = file.read_bytes()
        paastis = world.prepare()
        paastis.launch()

        assert await paastis.ended() == 2
        assert "paastis.db" in paastis.output
        assert "Traceback" not in paastis.output
        assert file.read_bytes() == before


@pytest.mark.parametrize("variable", ["PORT", "ROUTING_SYSTEM_API_PORT"])
async def test_port_in_use_is_told(new_world: NewWorld, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with new_world(apps=[app("shop")]) as world:
            paastis = world.prepare("--set", f"{variable}={port}")
            if variable == "PORT":
                paastis.arguments[paastis.arguments.index("--port") + 1] = str(port)
            paastis.launch()

            assert await paastis.ended() == 2
            told = [line for line in paastis.output.splitlines() if line.startswith("paastis: ")]
            assert len(told) == 1
            assert variable in told[0]
            assert f"127.0.0.1:{port} (address already in use)" in told[0]
            assert "Traceback" not in paastis.output
            assert await world.sim.changing_calls() == []


@pytest.mark.parametrize("word", ["run", "check"])
async def test_refused_token_is_told_without_telling_the_token(
    new_world: NewWorld, word: str
) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = world.prepare(PROVIDER_SCALINGO_API_TOKEN="tk-us-from-last-year")
        ended = await paastis.cli(*(paastis.arguments if word == "run" else [word]))

        assert ended.returncode == 2
        told = [line for line in ended.stderr.splitlines() if line.startswith("paastis: ")]
        assert len(told) == 1
        assert "token" in told[0].lower()
        assert "Traceback" not in ended.stderr
        assert "tk-us-from-last-year" not in ended.stdout + ended.stderr


@pytest.mark.timeout(150)
async def test_provider_that_does_not_answer_at_the_start_is_waited_for(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[app("shop", status="stopped")]) as world:
        await world.sim.fault("**", answer={"status": 503})
        paastis = world.prepare()
        paastis.launch()
        await until(paastis.ready, what="it serves what it has", within=40)
        account = (await paastis.accounts())[0]
        assert account["reachable"] is False
        assert account["message"]
        assert (await paastis.visit("shop")).status == 404
        await world.sim.clear_faults()

        async def back() -> bool:
            return "shop" in await paastis.records()

        await until(back, what="it lists again at the next full minute", within=75)
        assert (await paastis.visit("shop")).status == 200
        account = (await paastis.accounts())[0]
        assert (account["reachable"], account["message"]) == (True, "")
