"""`paastis run`: one machine, everything in one process."""

import asyncio
import os
import sys
from pathlib import Path

import click
from rich.console import Console

from paastis.app import Phase
from paastis.cli.installation import Parts, installation
from paastis.cli.process import allow_many_connections, stop_on_signals
from paastis.cli.settings import configuration_options, new_random, read_settings, utc_now
from paastis.cli.tables import found_table
from paastis.cli.terminal import open_console
from paastis.config import Config
from paastis.errors import ConfigError
from paastis.logs import configure_logging
from paastis.policy import Mode
from paastis.reasons import Reason

FIRST_LISTING = 30.0
"""Seconds that the first words wait for the first listing."""


@click.command()
@configuration_options
@click.option("--observe", is_flag=True, help="Show what would happen; touch nothing.")
@click.option("--host", help="Where visitors are served (HOST).")
@click.option("--port", help="Where visitors are served (PORT).")
def run(
    *,
    config_file: Path | None,
    settings: tuple[str, ...],
    observe: bool,
    host: str | None,
    port: str | None,
) -> None:
    """Discover apps, put the idle ones to sleep, and wake them for their visitors."""
    config = read_settings(
        config_file,
        settings,
        PAASTIS_MODE="observe" if observe else None,
        HOST=host,
        PORT=port,
    )
    if config.registry_type != "in-memory":
        raise ConfigError(
            f"REGISTRY_TYPE: {config.registry_type!r} is for `paastis controller` and `paastis "
            "proxy`, which share it; `paastis run` is both in one process and keeps everything "
            "in-memory"
        )
    configure_logging(config.logging_level, config.logging_format, sys.stderr)
    allow_many_connections()
    with asyncio.Runner() as runner:
        runner.run(_run(config))


async def _run(config: Config) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with installation(
        config, environ=os.environ, now=utc_now, rng=new_random(), stop=stop
    ) as parts:
        introducing = asyncio.create_task(_introduce(parts, open_console()))
        await stop.wait()
        if not introducing.done():
            introducing.cancel()
        await asyncio.wait({introducing})
        if not introducing.cancelled():
            introducing.result()


async def _introduce(parts: Parts, console: Console) -> None:
    """What was found and what will happen, before anything does."""
    accounts = parts.controller.accounts.values()
    try:
        async with asyncio.timeout(FIRST_LISTING):
            while not all(account.listed_once for account in accounts):  # noqa: ASYNC110 (told by nobody)
                await asyncio.sleep(0.1)
    except TimeoutError:
        console.print("Not every account could be listed yet; apps appear as they are found.")
    console.print(found_table(parts, utc_now()))
    for line in first_words(parts):
        console.print(line, highlight=False, soft_wrap=True)


def first_words(parts: Parts) -> list[str]:
    """What people should know before the first app sleeps."""
    config = parts.config
    port = parts.proxy.port
    words: list[str] = []
    modes = {account.config.mode for account in parts.controller.accounts.values()}
    if Mode.OBSERVE in modes:
        words.append("Observing: nothing is stopped or started.")
    words.append(
        "Only requests that come through this proxy count as use; direct ones are seen as far as "
        "the provider reports them, right before a stop."
    )
    if config.proxy.base_domains:
        base = config.proxy.base_domains[0]
        words.append(f"DNS:   *.{base}.  300  IN  A  <address of this machine>")
    else:
        words.append(
            "DNS:   *.proxy.example.com.  300  IN  A  <address of this machine>"
            "   (your domain; ROUTING_BASE_DOMAINS pins it)"
        )
    words.append(f"Apps:  http://localhost:{port}/     Health: port {parts.system.port}")
    apps = parts.registry.apps().values()
    stopped = [
        app.app_name
        for app in apps
        if app.phase is Phase.ASLEEP and app.phase_reason is Reason.FOUND_STOPPED
    ]
    are = "is" if len(stopped) == 1 else "are"
    if parts.registry.fresh and config.state_file is not None and stopped:
        words.append(
            f"Note:  the state file is new, and {len(stopped)} of the apps {are} stopped already. If "
            "an earlier paastis did that, sizes are known from the provider's history only."
        )
    return words
