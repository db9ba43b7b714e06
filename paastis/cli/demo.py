"""`paastis demo`: a simulated provider and a whole paastis in one command, with short times."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import click
from rich.console import Console

from paastis.cli.account_of_events import tell_events
from paastis.cli.installation import Parts, installation
from paastis.cli.process import stop_on_signals
from paastis.cli.settings import new_random, utc_now
from paastis.cli.story import StoryFailed, play
from paastis.cli.terminal import open_console
from paastis.config import Config, load_config
from paastis.durations import parse_duration
from paastis.logs import configure_logging
from paastis.simulate.server import ScalingoSimulator, SimulatorSettings

CALLS_PER_MINUTE = 600
"""Generous on both sides: the demo shows sleeping and waking, not patience."""

ONCE_WITHIN = 60.0
"""Seconds for the whole story."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What runs in a demo."""

    sim: ScalingoSimulator
    parts: Parts
    idle: timedelta


@click.command()
@click.option("--once", is_flag=True, help="Play the whole story, check each step, and end.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--system-port", default=3001, show_default=True, type=click.IntRange(0, 65535))
@click.option("--idle", default="20s", show_default=True, help="How soon an unused app sleeps.")
@click.option("-v", "--verbose", is_flag=True, help="Log lines as well.")
def demo(*, once: bool, port: int, system_port: int, idle: str, verbose: bool) -> None:
    """Show the main job: apps fall asleep when nobody uses them, and wake for their visitors.

    Needs no account: the provider is simulated on this machine.
    """
    try:
        idle_time = parse_duration(idle, unit=timedelta(seconds=1))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--idle") from None
    configure_logging("INFO" if verbose else "ERROR", "text", sys.stderr)
    console = open_console()
    with asyncio.Runner() as runner:
        fine = runner.run(
            _demo(console, once=once, port=port, system_port=system_port, idle=idle_time)
        )
    sys.exit(0 if fine else 1)


async def _demo(
    console: Console, *, once: bool, port: int, system_port: int, idle: timedelta
) -> bool:
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with demonstrating(stop, port=port, system_port=system_port, idle=idle) as running:
        _welcome(console, running)
        telling = asyncio.create_task(tell_events(running.parts, console))
        try:
            if once:
                return await _once(console, running, stop)
            await stop.wait()
        finally:
            telling.cancel()
            await asyncio.wait({telling})
        if not telling.cancelled():
            telling.result()  # it ended by itself: say why
    console.print("Ended.")
    return True


@asynccontextmanager
async def demonstrating(
    stop: asyncio.Event, *, port: int, system_port: int, idle: timedelta
) -> AsyncIterator[Demo]:
    """The simulator, and a paastis that knows nothing else."""
    settings = SimulatorSettings(
        listen=("127.0.0.1", 0), front_listen=("127.0.0.1", 0), rate_limit=CALLS_PER_MINUTE
    )
    async with ScalingoSimulator(settings) as sim:
        config = demo_config(sim, port=port, system_port=system_port, idle=idle)
        async with installation(
            config, environ=os.environ, now=utc_now, rng=new_random(), stop=stop
        ) as parts:
            yield Demo(sim, parts, idle)


def demo_config(sim: ScalingoSimulator, *, port: int, system_port: int, idle: timedelta) -> Config:
    """What a person would write to try paastis on the simulator."""
    return load_config(
        environ={
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "ROUTING_SYSTEM_API_PORT": str(system_port),
            "PROVIDER_NAME": "scalingo",
            "PROVIDER_SCALINGO_API_TOKEN": sim.token,
            "PROVIDER_SCALINGO_API_URL": sim.api_url,
            "PROVIDER_SCALINGO_AUTH_URL": sim.api_url,
            "PROVIDER_SCALINGO_CALLS_PER_MINUTE": str(CALLS_PER_MINUTE),
            "START_AND_STOP_MAX_IDLE_TIME": f"{idle.total_seconds()}s",
            "START_AND_STOP_ACCESS_RESOLUTION": "2s",
            "REGISTRY_STATE_FILE": "",
        },
        dotenv={},
        rules_text=None,
        rules_path=None,
    )


def _welcome(console: Console, running: Demo) -> None:
    port = running.parts.proxy.port
    seconds = int(running.idle.total_seconds())
    console.print(
        f"\n[bold]paastis demo[/bold]: a simulated Scalingo with a few apps. Those that nobody uses "
        f"for {seconds} s fall asleep.\n\n"
        f"  Open     http://my-app.localhost:{port}/   (wakes it if it sleeps)\n"
        f"  All apps http://localhost:{port}/\n"
        f"  Or       curl http://127.0.0.1:{port}/ -H 'Host: my-app.localhost'\n"
        f"  Truth    {running.sim.api_url}/_sim/apps   (what the platform really runs)\n\n"
        "Ctrl-C ends it.\n",
        soft_wrap=True,
    )


async def _once(console: Console, running: Demo, stop: asyncio.Event) -> bool:
    story = asyncio.create_task(play(running.parts, running.sim, console))
    ending = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait(
            {story, ending}, timeout=ONCE_WITHIN, return_when=asyncio.FIRST_COMPLETED
        )
        if not story.done():
            why = "it was interrupted" if stop.is_set() else f"it took over {ONCE_WITHIN:.0f} s"
            console.print(f"[red]✗[/red] The story did not end: {why}.")
            return False
        story.result()
    except StoryFailed as failed:
        console.print(f"[red]✗[/red] {failed}")
        return False
    finally:
        for task in (story, ending):
            task.cancel()
        await asyncio.wait({story, ending})
    console.print("[green]✓[/green] The whole story went as it should.")
    return True
