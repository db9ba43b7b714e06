"""`paastis apps`, `explain`, `wake` and `sleep`: what is known of apps, and orders about them.

Asked is the instance that runs on this machine, or a cluster with the caller's kubeconfig.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from paastis.cli.cluster import ClusterClient
from paastis.cli.explanation import explanation
from paastis.cli.place import cluster_options, opened_cluster, place_of
from paastis.cli.settings import configuration_options, read_settings, utc_now
from paastis.cli.tables import apps_table
from paastis.cli.terminal import open_console
from paastis.system.client import SystemClient

_Answer = TypeVar("_Answer")
_Command = TypeVar("_Command", bound=Callable[..., Any])
_Client = SystemClient | ClusterClient


def _where_options(command: _Command) -> _Command:
    """What `_ask` takes: whom to ask."""
    return configuration_options(cluster_options(command))


def _ask(
    question: Callable[[_Client], Awaitable[_Answer]],
    *,
    config_file: Path | None,
    settings: tuple[str, ...],
    kubernetes: bool,
    namespace: str | None,
    context: str | None,
) -> _Answer:
    """Ask the cluster, or the instance that runs with this configuration."""
    place = place_of(
        config_file, settings, kubernetes=kubernetes, namespace=namespace, context=context
    )
    if place is not None:

        async def asking_cluster() -> _Answer:
            async with opened_cluster(place, os.environ) as cluster:
                client = ClusterClient(cluster, place=place, now=utc_now, warn=_warn)
                return await question(client)

        return asyncio.run(asking_cluster())
    config = read_settings(config_file, settings)

    async def asking() -> _Answer:
        async with SystemClient.beside(config.state_file, os.environ) as client:
            return await question(client)

    return asyncio.run(asking())


def _warn(sentence: str) -> None:
    click.echo(f"paastis: {sentence}", err=True)


@click.command()
@_where_options
@click.option("--json", "as_json", is_flag=True, help="The whole answer, for programs.")
def apps(*, as_json: bool, **where: Any) -> None:
    """Show what is known: phase, last use, when each app sleeps, its address.

    Asks the instance that runs with this configuration; with -n, --context, --kubernetes or
    REGISTRY_TYPE=kubernetes a cluster, as far as your kubeconfig lets you.
    """
    found, accounts, nothing = _ask(_everything, **where)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = open_console()
    if not found:
        console.print(nothing)
    else:
        console.print(apps_table(found, utc_now()))
    for account in accounts:
        if account["message"]:
            console.print(f"\n{account['name']}: {account['message']}", style="yellow")


async def _everything(client: _Client) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """The apps, the accounts, and what to say where there are no apps."""
    found, accounts, nothing = await client.apps(), await client.accounts(), "No apps yet."
    if isinstance(client, ClusterClient):
        nothing = f"No apps yet in namespace {client.namespace!r}."
        if not accounts:
            nothing += " It has no PaastisAccount either, so nothing is discovered there."
    return found, accounts, nothing


@click.command()
@click.argument("app")
@_where_options
@click.option("--json", "as_json", is_flag=True, help="The whole answer, for programs.")
def explain(app: str, *, as_json: bool, **where: Any) -> None:
    """Show an app's policy with the rule behind each value, and why it is as it is.

    In a cluster (-n, --context, --kubernetes or REGISTRY_TYPE=kubernetes) all of it is told from
    the resources: a deployment that is under way is then not seen.
    """
    view = _ask(lambda client: client.app(app), **where)
    if as_json:
        click.echo(json.dumps(view, indent=2))
    else:
        open_console().print(explanation(view, utc_now()))


@click.command()
@click.argument("app")
@_where_options
def wake(app: str, **where: Any) -> None:
    """Wake an app and keep it awake for its idle time.

    In a cluster (-n, --context, --kubernetes or REGISTRY_TYPE=kubernetes) this sets the
    PaastisApp's spec.awakeUntil, and clears spec.sleepFor.
    """
    view = _ask(lambda client: client.wake(app), **where)
    click.echo(f"{view['app_name']} is {view['phase']}; kept awake for {view['max_idle_time']}.")


@click.command()
@click.argument("app")
@_where_options
def sleep(app: str, **where: Any) -> None:
    """Put an app to sleep as soon as nobody uses it, until somebody wakes it.

    In a cluster (-n, --context, --kubernetes or REGISTRY_TYPE=kubernetes) this sets the
    PaastisApp's spec.sleepFor, and clears spec.awakeUntil.
    """
    view = _ask(lambda client: client.sleep(app), **where)
    click.echo(f"{view['app_name']} is {view['phase']}; it sleeps once nobody uses it.")
