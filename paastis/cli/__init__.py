"""The command line: `paastis …`."""

import sys
from importlib import import_module
from typing import Any

import click

from paastis import __version__
from paastis.errors import ConfigError, PaastisError

_COMMANDS = {
    "run": "paastis.cli.run",
    "controller": "paastis.cli.controller",
    "proxy": "paastis.cli.proxy",
    "demo": "paastis.cli.demo",
    "check": "paastis.cli.check",
    "apps": "paastis.cli.apps",
    "explain": "paastis.cli.apps",
    "wake": "paastis.cli.apps",
    "sleep": "paastis.cli.apps",
    "rules": "paastis.cli.rules",
    "wake-all": "paastis.cli.wake_all",
    "simulate": "paastis.cli.simulate",
}
"""Command → the module that has it, imported when it is asked for: the programs are heavy."""


class _Group(click.Group):
    """Turns our errors into sentences: 2 for the configuration, 1 for the rest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in _COMMANDS:
            self.add_command(
                getattr(import_module(_COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
            )
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                click.echo(f"paastis: {problem}", err=True)
            sys.exit(2)
        except ExceptionGroup as group:
            _say_what_happened(group)
        except PaastisError as error:
            click.echo(f"paastis: {error}", err=True)
            sys.exit(1)


def _say_what_happened(group: ExceptionGroup[Exception]) -> None:
    """What tasks side by side failed with: sentences where it is nobody's fault but the settings'."""
    problems, others = group.split(ConfigError)
    if problems is None or others is not None:
        raise group
    for error in _leaves(problems):
        for problem in error.problems:
            click.echo(f"paastis: {problem}", err=True)
    sys.exit(2)


def _leaves(group: ExceptionGroup[ConfigError]) -> list[ConfigError]:
    found: list[ConfigError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, ExceptionGroup) else [error])
    return found


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="paastis")
def main() -> None:
    """Put idle PaaS apps to sleep and wake them when somebody comes back.

    Settings come from the environment, `.env` and `paastis.yml` in the working directory. Begin
    with `paastis check`, which changes nothing, or with `paastis demo`, which needs no account.
    """
