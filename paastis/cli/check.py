"""`paastis check`: tell every problem, try the credentials, show what would happen; change nothing."""

import asyncio
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from controller.account import Account
from paastis.app import Observation, Phase
from paastis.cli.installation import check_credentials, opened_accounts
from paastis.cli.providers import protect_secrets
from paastis.cli.settings import configuration_options, read_settings, utc_now
from paastis.cli.tables import phase_text
from paastis.cli.terminal import open_console
from paastis.config import Config
from paastis.durations import format_duration
from paastis.errors import ProviderError
from paastis.logs import configure_logging
from paastis.metrics import Metrics
from paastis.phases import settle
from paastis.policy import Mode, Policy, Power, Settings
from paastis.providers.port import Listing, RemoteApp
from paastis.rule import Effective, effective


@click.command()
@configuration_options
def check(*, config_file: Path | None, settings: tuple[str, ...]) -> None:
    """Read the configuration, try the credentials, and say what would sleep when.

    Changes nothing. Exit code 0: all is well; 1: a provider could not be asked; 2: the
    configuration is wrong.
    """
    config = read_settings(config_file, settings)
    configure_logging("ERROR", "text", sys.stderr)
    protect_secrets(config)
    console = open_console()
    console.print("[green]✓[/green] The configuration is in order.")
    for warning in config.warnings:
        console.print(f"[yellow]![/yellow] {warning}", highlight=False)
    if config.registry_type == "kubernetes":
        console.print(
            "Accounts and rules are resources of the cluster: `kubectl get "
            "paastisaccounts,paastisrules` tells how they stand.",
            highlight=False,
        )
    fine = asyncio.run(_check_accounts(config, console))
    sys.exit(0 if fine else 1)


async def _check_accounts(config: Config, console: Console) -> bool:
    fine = True
    matched: dict[str, list[str]] = {rule.source: [] for rule in config.rules}
    async with opened_accounts(config, now=utc_now, metrics=Metrics()) as accounts:
        for account in accounts:
            fine = await _check_account(config, account, console, matched) and fine
    if config.rules:
        console.print("\n[bold]Rules[/bold]")
        for source, names in matched.items():
            told = ", ".join(names) if names else "[yellow]matches no app[/yellow]"
            console.print(f"  {source}: {told}", highlight=False)
    return fine


async def _check_account(
    config: Config, account: Account, console: Console, matched: dict[str, list[str]]
) -> bool:
    who = await check_credentials(account.name, account.provider)
    if who is None:
        console.print(f"[red]✗[/red] {account.name}: the provider could not be asked now.")
        return False
    console.print(f"[green]✓[/green] {account.name}: the credentials belong to {who}.")
    try:
        listing = await account.provider.list_apps()
    except ProviderError as error:
        console.print(f"[red]✗[/red] {account.name}: {error}", highlight=False)
        return False
    for problem in listing.problems:
        console.print(f"[red]✗[/red] {account.name}: {problem}", highlight=False)
    console.print(_apps(config, account, listing, matched))
    return listing.complete


def _apps(
    config: Config, account: Account, listing: Listing, matched: dict[str, list[str]]
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("APP", "REGION", "NOW", "WOULD", "SET BY"):
        table.add_column(column, overflow="fold")
    for item in sorted(listing.apps, key=lambda item: (item.app_name, item.region)):
        found = effective(
            item.app_name,
            account.name,
            config.rules,
            defaults=config.defaults,
            account_settings=account.config.settings,
            overrides=Settings(),
            mode=account.config.mode,
            resolution_floor=config.controller.access_resolution,
        )
        for rule in found.matched:
            matched[rule.source].append(item.app_name)
        would = _would(item, found.policy, covered=account.config.covers(item.app_name))
        table.add_row(
            item.app_name, item.region, phase_text(_phase(item)), would, _why(found, would)
        )
    return table


def _phase(item: RemoteApp) -> Phase:
    if item.unmanaged is not None:
        return Phase.UNMANAGED
    return settle(Phase.UNMANAGED, item.state, wanted=False).phase


def _would(item: RemoteApp, policy: Policy, *, covered: bool) -> str:
    if not covered:
        return "be ignored"
    if item.unmanaged is not None:
        return f"be left alone: {item.unmanaged}"
    if policy.power is Power.UNMANAGED:
        return "be left alone"
    if policy.power is Power.ALWAYS_ON:
        return "be kept awake"
    if policy.power is Power.ALWAYS_OFF:
        return "be kept asleep"
    after = f"after {format_duration(policy.max_idle_time)} idle"
    if item.state is Observation.STOPPED:
        return f"sleep on until a visitor comes; then sleep {after}"
    if policy.mode is Mode.MANAGE:
        return f"sleep {after}"
    return f"only be shown as idle {after} ({policy.mode})"


def _why(found: Effective, would: str) -> str:
    names = {"power"} if "kept" in would or would == "be left alone" else {"max_idle_time"}
    sources = [found.policy.sources.get(name, "default") for name in names]
    return ", ".join([*sources, *found.problems])
