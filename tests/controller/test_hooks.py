"""Shell commands around starts and stops."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import pytest

from controller.hooks import Hooks
from paastis.app import App, Identity, Phase
from paastis.config import Config
from paastis.config.options import HookConfig
from paastis.reasons import Reason
from paastis.rule import Hooks as HookCommands
from tests.controller.conftest import LONG, Clock, Setup, installed, until


def running(**commands: str) -> Config:
    return Config(
        accounts=(),
        hooks=HookConfig(commands=HookCommands(**commands), timeout=timedelta(seconds=5)),
    )


def an_app() -> App:
    return App(
        name="my-app",
        identity=Identity("main", "osc-fr1", "id-1"),
        provider="scalingo",
        app_name="my; app",
        created_at=Clock().now(),
    )


def hooks(**fields: object) -> Hooks:
    given = {"environ": {"PATH": "/usr/bin:/bin", "SECRET": "s"}, "pass_env": (), **fields}
    given.setdefault("timeout", timedelta(seconds=5))
    return Hooks(**given)  # type: ignore[arg-type] # chosen by the tests below


async def test_every_hook_runs_at_its_moment_with_its_variables(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    note = f'echo "$PAASTIS_PHASE $PAASTIS_APP_NAME $PAASTIS_REASON" >> {notes}'
    config = running(before_start=note, after_start=note, before_stop=note, after_stop=note)
    async with installed(Setup(idle=LONG, config=config)) as installation:
        await installation.put_to_sleep()
        await until(lambda: notes.read_text().count("\n") == 2)
        await installation.wake()
        await until(lambda: notes.read_text().count("\n") == 4)

    assert notes.read_text().splitlines() == [
        "before-stop my-app SleepAsked",
        "after-stop my-app SleepAsked",
        "before-start my-app WakeAsked",
        "after-start my-app Started",
    ]


async def test_after_hooks_hold_up_nobody(tmp_path: Path) -> None:
    config = running(after_stop="sleep 30", after_start="sleep 30")
    async with installed(Setup(idle=LONG, config=config)) as installation:
        began = time.monotonic()
        for _ in range(2):
            await installation.put_to_sleep()
            await installation.wake()
        assert time.monotonic() - began < 8
    assert time.monotonic() - began < 12  # nor do they hold up the end


async def test_after_stop_does_not_run_when_the_stop_failed(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    config = running(after_stop=f"touch {notes}")
    async with installed(Setup(idle=LONG, config=config)) as installation:
        await installation.known()
        await installation.fault("POST /v1/apps/*/scale", answer={"status": 422}, times=1)
        await installation.override(sleep_for=installation.app().cycle)
        await until(lambda: installation.app().condition(Reason.STOP_FAILED))
        await asyncio.sleep(0.2)

        assert not notes.exists()


async def test_veto_of_a_before_stop_hook_holds_for_a_minute(tmp_path: Path) -> None:
    veto, notes = tmp_path / "veto", tmp_path / "notes"
    veto.touch()
    config = running(before_stop=f"echo >> {notes}; test ! -e {veto} || exit 75")
    async with installed(Setup(idle=LONG, config=config)) as installation:
        await installation.known()
        await installation.override(sleep_for=installation.app().cycle)
        await until(lambda: notes.exists())
        vetoed = await installation.phase(Phase.AWAKE)
        await until(lambda: installation.app().phase_reason is Reason.HOOK_VETO)
        await asyncio.sleep(0.5)

        assert vetoed.cycle == installation.app().cycle
        assert notes.read_text().count("\n") == 1
        assert installation.scale_calls == 0

        veto.unlink()
        await installation.pass_time(timedelta(seconds=61))
        await installation.phase(Phase.ASLEEP)


async def test_failing_hook_does_not_hold_back_a_stop_or_start() -> None:
    config = running(before_stop="exit 1", before_start="exit 75")
    async with installed(Setup(idle=LONG, config=config)) as installation:
        await installation.put_to_sleep()
        await installation.wake()


async def test_hook_sees_no_variable_but_its_own() -> None:
    outcome = await hooks().run("env", "before-stop", an_app(), Reason.IDLE)

    names = {line.split("=")[0] for line in outcome.output.splitlines()}
    assert "SECRET" not in names
    assert {name for name in names if name.startswith("PAASTIS_")} == {
        "PAASTIS_APP_NAME",
        "PAASTIS_APP_ID",
        "PAASTIS_ACCOUNT",
        "PAASTIS_PROVIDER",
        "PAASTIS_REGION",
        "PAASTIS_PHASE",
        "PAASTIS_REASON",
    }


async def test_hook_may_see_the_variables_named_for_it() -> None:
    passing = hooks(pass_env=("SECRET",))
    outcome = await passing.run('echo "$SECRET"', "before-stop", an_app(), Reason.IDLE)

    assert outcome.output == "s"


async def test_app_name_is_no_part_of_the_command(tmp_path: Path) -> None:
    outcome = await hooks().run('echo "$PAASTIS_APP_NAME"', "before-stop", an_app(), Reason.IDLE)

    assert outcome.output == "my; app"


async def test_hook_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    short = hooks(timeout=timedelta(seconds=0.3))
    command = f"(sleep 1; touch {mark}) & wait"
    outcome = await short.run(command, "before-stop", an_app(), Reason.IDLE)
    await asyncio.sleep(1.0)

    assert outcome.code is None
    assert not outcome.veto
    assert not mark.exists()


@pytest.mark.parametrize("size", [100_000, 5_000_000])
async def test_long_output_neither_blocks_nor_is_kept(size: int) -> None:
    outcome = await hooks().run(
        f"head -c {size} /dev/zero | tr '\\0' x", "before-stop", an_app(), Reason.IDLE
    )

    assert outcome.code == 0
    assert len(outcome.output) == 4096
