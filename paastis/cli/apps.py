"""`paastis apps`, `explain`, `wake` and `sleep`: what the running instance knows, and orders to it."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from paastis.cli.explanation import explanation
from paastis.cli.settings import configuration_options, read_settings, utc_now
from paastis.cli.tables import apps_table
from paastis.cli.terminal import open_console
from paastis.system.client import SystemClient

_Answer = TypeVar("_Answer")


def _ask(
    config_file: Path | None,
    settings: tuple[str, ...],
    question: Callable[[SystemClient], Awaitable[_Answer]],
) -> _Answer:
    """Ask the instance that runs with this configuration."""
    config = read_settings(config_file, settings)

    async def asking() -> _Answer:
        async with SystemClient.beside(config.state_file, os.environ) as client:
            return await question(client)

    return asyncio.run(asking())


@click.command()
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="The whole answer, for programs.")
def apps(*, config_file: Path | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Show what the running instance knows: phase, last use, when each app sleeps, its address."""
    found, accounts = _ask(config_file, settings, _both)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = open_console()
    if not found:
        console.print("No apps yet.")
    else:
        console.print(apps_table(found, utc_now()))
    for account in accounts:
        if account["message"]:
            console.print(f"\n{account['name']}: {account['message']}", style="yellow")


async def _both(client: SystemClient) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return await client.apps(), await client.accounts()


@click.command()
@click.argument("app")
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="The whole answer, for programs.")
def explain(
    app: str, *, config_file: Path | None, settings: tuple[str, ...], as_json: bool
) -> None:
    """Show an app's policy with the rule behind each value, and why it is as it is."""
    view = _ask(config_file, settings, lambda client: client.app(app))
    if as_json:
        click.echo(json.dumps(view, indent=2))
    else:
        open_console().print(explanation(view, utc_now()))


@click.command()
@click.argument("app")
@configuration_options
def wake(app: str, *, config_file: Path | None, settings: tuple[str, ...]) -> None:
    """Wake an app and keep it awake for its idle time."""
    view = _ask(config_file, settings, lambda client: client.wake(app))
    click.echo(f"{view['app_name']} is {view['phase']}; kept awake for {view['max_idle_time']}.")


@click.command()
@click.argument("app")
@configuration_options
def sleep(app: str, *, config_file: Path | None, settings: tuple[str, ...]) -> None:
    """Put an app to sleep as soon as nobody uses it, until somebody wakes it."""
    view = _ask(config_file, settings, lambda client: client.sleep(app))
    click.echo(f"{view['app_name']} is {view['phase']}; it sleeps once nobody uses it.")
