"""Every command tells what it does, refuses nonsense in a sentence, and ends with the right code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from paastis import __version__
from paastis.cli import main
from paastis.errors import ConfigError, PaastisError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


ALL = dict(commands(main))


def test_the_commands_are_those_that_people_are_told_of() -> None:
    assert {" ".join(path) for path in ALL} == {
        *("run", "controller", "proxy", "demo", "check", "apps", "explain", "wake", "sleep"),
        *("rules", "rules export", "wake-all"),
        *("simulate", "simulate scalingo"),
    }


@pytest.mark.parametrize("path", [(), *ALL], ids=" ".join)
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_tells_what_the_command_is_for(path: tuple[str, ...], word: str) -> None:
    told = CliRunner().invoke(main, [*path, word])

    assert told.exit_code == 0, told.output
    assert told.output.startswith(f"Usage: main{''.join(f' {name}' for name in path)}")
    first_words = told.output.split("\n\n")[1]
    assert len(first_words.split()) >= 4


def test_version_is_told() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"paastis, version {__version__}\n"


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_unknown_option_is_named_and_exit_2(path: tuple[str, ...]) -> None:
    told = CliRunner().invoke(main, [*path, "--nonsense"])
    assert told.exit_code == 2
    assert "--nonsense" in told.stderr


@pytest.mark.parametrize("word", ["run", "check", "apps"])
@pytest.mark.parametrize("given", ["PORT", "=3000"])
def test_setting_without_name_or_value_is_refused(word: str, given: str) -> None:
    told = CliRunner().invoke(main, [word, "--set", given])
    assert told.exit_code == 2
    assert f"{given!r} is not NAME=VALUE" in told.stderr


def test_command_line_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"PROVIDER_NAME": "scalingo", "PROVIDER_SCALINGO_API_TOKEN": "t", "PORT": "80"}
    told = CliRunner(env=environment).invoke(main, ["check", "--set", "PORT=eighty"])
    assert told.exit_code == 2
    assert told.stderr.startswith("paastis: PORT: 'eighty'")
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize("idle", ["soon", "-5s", ""])
def test_demo_refuses_an_idle_time_that_is_none(idle: str) -> None:
    told = CliRunner().invoke(main, ["demo", "--once", "--idle", idle])
    assert told.exit_code == 2
    assert "--idle" in told.stderr


# --- what becomes of errors


def _fails_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> click.testing.Result:
    @click.command("fails")
    def fails() -> None:
        raise error

    monkeypatch.setitem(main.commands, "fails", fails)
    return CliRunner().invoke(main, ["fails"])


def _configuration(*problems: str) -> ConfigError:
    return ConfigError(list(problems))


def test_every_problem_of_the_configuration_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    told = _fails_with(_configuration("A: no.", "B: no."), monkeypatch)
    assert (told.exit_code, told.stderr) == (2, "paastis: A: no.\npaastis: B: no.\n")


def test_problems_of_tasks_side_by_side_are_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = ExceptionGroup("inner", [_configuration("A: no.")])
    outer = ExceptionGroup("outer", [inner, _configuration("B: no.")])
    told = _fails_with(outer, monkeypatch)
    assert (told.exit_code, told.stderr) == (2, "paastis: A: no.\npaastis: B: no.\n")


def test_other_error_of_ours_is_a_line_and_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    told = _fails_with(PaastisError("It is so."), monkeypatch)
    assert (told.exit_code, told.stderr) == (1, "paastis: It is so.\n")


def test_bug_beside_a_configuration_problem_keeps_its_stack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = ExceptionGroup("both", [_configuration("A: no."), RuntimeError("a bug")])
    told = _fails_with(group, monkeypatch)
    assert told.exception is group
