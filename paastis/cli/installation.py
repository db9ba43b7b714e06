"""One whole paastis in this process: registry, controller, proxy, system port and CLI socket."""

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.account import Account
from controller.program import Controller
from paastis.app import App
from paastis.cli.instance import addresses, instance_of
from paastis.cli.providers import measured_provider, protect_secrets
from paastis.cli.visitors import VisitorMetrics, serve_visitors, verdict_of
from paastis.config import Config
from paastis.errors import ConfigError, ProviderError, Unauthorized
from paastis.metrics import Metrics
from paastis.providers.port import Provider
from paastis.registry.memory import MemoryRegistry
from paastis.system.api import SystemApi
from paastis.system.port import Instance
from paastis.system.server import CommandSocket, SystemPort
from paastis.system.unixsocket import socket_place
from proxy.program import Proxy
from proxy.settings import ProxySettings

log = logging.getLogger(__name__)

CREDENTIALS_TIMEOUT = timedelta(seconds=15)
"""How long the check of the credentials at the start may take."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running installation consists of."""

    config: Config
    registry: MemoryRegistry
    controller: Controller
    proxy: Proxy
    system: SystemPort
    instance: Instance

    def address(self, app: App) -> str:
        """Where visitors reach the app through the proxy."""
        return addresses(self.config, app, self.proxy.port)[0]


async def check_credentials(name: str, provider: Provider) -> str | None:
    """Who the credentials belong to; None where the provider cannot be asked now.

    Raises ConfigError where it refuses them.
    """
    try:
        async with asyncio.timeout(CREDENTIALS_TIMEOUT.total_seconds()):
            return await provider.check()
    except Unauthorized as error:
        raise ConfigError(f"account {name!r}: {error}") from None
    except (ProviderError, TimeoutError) as error:
        words = str(error) or "no answer"
        log.warning("cannot check the credentials now", extra={"account": name, "error": words})
        return None


@asynccontextmanager
async def opened_accounts(
    config: Config, *, now: Callable[[], datetime], metrics: Metrics
) -> AsyncIterator[list[Account]]:
    """The accounts with their providers, closed at the end. Raises ConfigError."""
    async with contextlib.AsyncExitStack() as stack:
        accounts: list[Account] = []
        for account in config.accounts:
            provider = measured_provider(account, now=now, metrics=metrics)
            stack.push_async_callback(provider.aclose)
            accounts.append(Account.open(account, provider))
        yield accounts


@asynccontextmanager
async def installation(
    config: Config,
    *,
    environ: Mapping[str, str],
    now: Callable[[], datetime],
    rng: random.Random,
    stop: asyncio.Event,
) -> AsyncIterator[Parts]:
    """Everything running; ends in order when the block ends or `stop` is set.

    Raises ConfigError where a port, the state file or the credentials cannot be used.
    """
    protect_secrets(config)
    async with contextlib.AsyncExitStack() as stack:
        metrics = Metrics()
        accounts = await stack.enter_async_context(
            opened_accounts(config, now=now, metrics=metrics)
        )
        for account in accounts:
            await check_credentials(account.name, account.provider)
        registry = await MemoryRegistry.open(config.state_file, metrics=metrics)
        stack.push_async_callback(registry.aclose)
        metrics.watch_apps(lambda: registry.apps().values())
        controller = Controller(
            registry=registry,
            accounts=accounts,
            config=config,
            environ=environ,
            now=now,
            rng=rng,
            metrics=metrics,
        )
        system: list[SystemApi] = []
        proxy = Proxy(
            registry,
            ProxySettings(config.proxy),
            verdict=verdict_of,
            now=now,
            rng=rng,
            proxy_id=f"{socket.gethostname()}-{os.getpid()}",
            meter=VisitorMetrics(metrics),
            system=lambda request: system[0].serve_by_header(request),
        )
        instance = instance_of(config, registry, controller, proxy, metrics, now)
        api = SystemApi(
            instance,
            enabled=config.system.api_enabled,
            token=config.system.token,
        )
        system.append(api)
        port = SystemPort(api, host=config.system.host, port=config.system.port)
        await stack.enter_async_context(port)
        place = socket_place(config.state_file, environ)
        await stack.enter_async_context(CommandSocket(api, place))
        for warning in (*config.warnings, *((place.warning,) if place.warning else ())):
            log.warning(warning)
        parts = Parts(config, registry, controller, proxy, port, instance)
        async with asyncio.TaskGroup() as group:
            serving = asyncio.Event()
            end_controller = asyncio.Event()
            visitors = group.create_task(serve_visitors(proxy, config, stop, serving))
            await serving.wait()
            deciding = group.create_task(controller.run(end_controller))
            try:
                yield parts
            finally:
                # Visitors first: their last accesses are worth having before decisions end.
                stop.set()
                await asyncio.wait({visitors})
                end_controller.set()
                await asyncio.wait({deciding})
    log.info("ended")
