"""What every command shares: reading the configuration and the usual options."""

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from paastis.config import Config, read_config

_Command = TypeVar("_Command", bound=Callable[..., Any])


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


def read_settings(
    config_file: Path | None, settings: tuple[str, ...], **named: str | None
) -> Config:
    """The configuration of the working directory with what the command line says.

    Raises ConfigError with every problem found.
    """
    overrides = {name: value for name, value in named.items() if value is not None}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{setting!r} is not NAME=VALUE", param_hint="--set")
        overrides[name] = value
    if config_file is not None:
        overrides["PAASTIS_CONFIG"] = str(config_file)
    return read_config(Path.cwd(), environ=os.environ, overrides=overrides)
