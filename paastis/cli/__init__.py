"""The command line: `paastis …`."""

import sys
from typing import Any

import click

from paastis import __version__
from paastis.cli.apps import apps, explain, sleep, wake
from paastis.cli.check import check
from paastis.cli.demo import demo
from paastis.cli.run import run
from paastis.cli.simulate import simulate
from paastis.errors import ConfigError, PaastisError


class _Group(click.Group):
    """Turns our errors into sentences: 2 for the configuration, 1 for the rest."""

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


for _command in (run, demo, check, apps, explain, wake, sleep, simulate):
    main.add_command(_command)
