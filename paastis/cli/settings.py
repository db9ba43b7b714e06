"""What every command shares: reading the configuration and the usual options."""

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from paastis.config import Config, read_config
from paastis.durations import parse_duration

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Duration(click.ParamType[timedelta]):
    """An option such as `90s` or `10m`; a bare number counts seconds."""

    name = "DURATION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """The span, or click's refusal."""
        try:
            return parse_duration(str(value), unit=timedelta(seconds=1))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def utc_now() -> datetime:
    """The clock that is handed to everything else."""
    return datetime.now(UTC)


def new_random() -> random.Random:
    """The source of chance that is handed to everything else."""
    return random.Random()


def configuration_options(command: _Command) -> _Command:
    """`--config` and `--set`, for every command that reads the configuration."""
    command = click.option(
        "--set",
        "settings",
        metavar="NAME=VALUE",
        multiple=True,
        help="Set a variable for this run; it wins over environment, .env and file.",
    )(command)
    return click.option(
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Use this instead of ./paastis.yml.",
    )(command)


def overrides_of(
    config_file: Path | None, settings: tuple[str, ...], **named: str | None
) -> dict[str, str]:
    """What the command line says, by name of variable; None says nothing."""
    overrides = {name: value for name, value in named.items() if value is not None}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{setting!r} is not NAME=VALUE", param_hint="--set")
        overrides[name] = value
    if config_file is not None:
        overrides["PAASTIS_CONFIG"] = str(config_file)
    return overrides


def read_settings(
    config_file: Path | None, settings: tuple[str, ...], **named: str | None
) -> Config:
    """The configuration of the working directory with what the command line says.

    Raises ConfigError with every problem found.
    """
    overrides = overrides_of(config_file, settings, **named)
    return read_config(Path.cwd(), environ=os.environ, overrides=overrides)
