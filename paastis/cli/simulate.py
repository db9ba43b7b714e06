"""`paastis simulate …`: a provider made up on this machine, to try things on."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from paastis.cli.settings import Duration
from paastis.errors import ConfigError
from paastis.simulate.apps_file import read_apps
from paastis.simulate.fleet import WorldSettings
from paastis.simulate.server import ScalingoSimulator, SimulatorSettings

if TYPE_CHECKING:
    from paastis.simulate.gate import Call


class _Address(click.ParamType[tuple[str, int]]):
    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        host, colon, port = str(value).rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            self.fail(f"{value!r} is not an address such as 127.0.0.1:8701", param, ctx)
        return host.removeprefix("[").removesuffix("]"), int(port)


@click.group()
def simulate() -> None:
    """Serve a provider made up on this machine, with small real apps behind it."""


@simulate.command()
@click.option(
    "--listen",
    type=_Address(),
    default="127.0.0.1:8701",
    show_default=True,
    help="Authentication, regional API and control (/_sim). Port 0 takes a free one.",
)
@click.option(
    "--front-listen",
    type=_Address(),
    default="127.0.0.1:8702",
    show_default=True,
    help="The platform's router: apps answer at http://<app>.<region>.localhost:<port>.",
)
@click.option(
    "--apps",
    "apps_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML with the apps; without it, ten that show what there is to see.",
)
@click.option("--latency", type=Duration(), default="0s", help="Added to every API call.")
@click.option("--boot-time", type=Duration(), default="3s", show_default=True)
@click.option("--stop-time", type=Duration(), default="1s", show_default=True)
@click.option(
    "--rate-limit",
    type=click.IntRange(min=0),
    default=60,
    show_default=True,
    help="API calls in any 60 seconds; 0 is no limit.",
)
@click.option(
    "--operation-quota",
    type=click.IntRange(min=0),
    default=0,
    help="Operations beyond this many at one time fail after they were accepted.",
)
@click.option("--token", default="tk-us-simulated", show_default=True, help="The API token.")
@click.option("--token-lifetime", type=Duration(), default="1h", show_default=True)
@click.option(
    "--booting",
    type=click.Choice(["page", "refuse"]),
    default="page",
    show_default=True,
    help="What visitors get while an app boots: a 503 page, or a broken connection.",
)
@click.option("--seed", type=int, help="The same ids in every run.")
@click.option("-v", "--verbose", is_flag=True, help="A line for every API call.")
def scalingo(
    *,
    listen: tuple[str, int],
    front_listen: tuple[str, int],
    apps_file: Path | None,
    latency: timedelta,
    boot_time: timedelta,
    stop_time: timedelta,
    rate_limit: int,
    operation_quota: int,
    token: str,
    token_lifetime: timedelta,
    booting: Literal["page", "refuse"],
    seed: int | None,
    verbose: bool,
) -> None:
    """Serve a local copy of Scalingo: its API, its router, and apps that boot, stop and crash."""
    try:
        settings = SimulatorSettings(
            listen=listen,
            front_listen=front_listen,
            token=token,
            token_lifetime=token_lifetime,
            latency=latency,
            rate_limit=rate_limit,
            booting=booting,
            seed=seed,
            world=WorldSettings(
                boot_time=boot_time, stop_time=stop_time, operation_quota=operation_quota
            ),
            apps=None if apps_file is None else read_apps(apps_file),
        )
        asyncio.run(_serve(settings, verbose=verbose))
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(2)


async def _serve(settings: SimulatorSettings, *, verbose: bool) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with ScalingoSimulator(settings, on_call=_tell if verbose else None) as simulator:
        click.echo(
            f"API and control  {simulator.api_url}  (the truth: {simulator.api_url}/_sim/apps)"
        )
        for app in simulator.world.apps():
            click.echo(f"{app.status:<16} {simulator.url_of(app)}/")
        click.echo("\nFor paastis (.env):")
        click.echo("PROVIDER_NAME=scalingo")
        click.echo(f"PROVIDER_SCALINGO_API_TOKEN={simulator.token}")
        click.echo(f"PROVIDER_SCALINGO_API_URL={simulator.api_url}")
        click.echo(f"PROVIDER_SCALINGO_AUTH_URL={simulator.api_url}\n")
        click.echo("Ctrl-C ends it.")
        await ended.wait()
    click.echo("Ended.")


def _tell(call: Call) -> None:
    at = datetime.fromtimestamp(call.time, UTC).astimezone()
    click.echo(f"{at:%H:%M:%S} {call.method:<6} {call.path} {call.status or 'dropped'}")
