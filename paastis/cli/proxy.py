"""`paastis proxy`: serves visitors in a cluster, beside a controller and other proxies."""

import asyncio
import logging
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from paastis.app import App
from paastis.cli.in_cluster import (
    READ_ONLY,
    addresses_in_cluster,
    connect,
    own_name,
    reach,
    refuse_to_forget,
    require_cluster,
)
from paastis.cli.process import allow_many_connections, stop_on_signals
from paastis.cli.providers import protect_secrets
from paastis.cli.records import AccountRecord, foreseen
from paastis.cli.settings import configuration_options, new_random, read_settings, utc_now
from paastis.cli.visitors import VisitorMetrics, serve_visitors, verdict_of
from paastis.config import Config
from paastis.logs import configure_logging
from paastis.metrics import Metrics
from paastis.registry.kubernetes import KubernetesRegistry
from paastis.registry.port import Registry
from paastis.system.api import SystemApi
from paastis.system.port import AccountStatus, Health, Instance, Outlook
from paastis.system.server import SystemPort
from proxy.program import Proxy
from proxy.settings import ProxySettings

log = logging.getLogger(__name__)


@click.command()
@configuration_options
def proxy(*, config_file: Path | None, settings: tuple[str, ...]) -> None:
    """Serve visitors in a cluster: forward them, or hold them while their app wakes.

    Needs REGISTRY_TYPE=kubernetes, and a `paastis controller` beside it. Any number may run.
    """
    config = read_settings(config_file, settings)
    require_cluster(config, "proxy")
    configure_logging(config.logging_level, config.logging_format, sys.stderr)
    allow_many_connections()
    with asyncio.Runner() as runner:
        runner.run(_run(config, now=utc_now, rng=new_random()))


async def _run(config: Config, *, now: Callable[[], datetime], rng: random.Random) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    protect_secrets(config)
    for warning in config.warnings:
        log.warning(warning)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        cluster = await connect(config)
        stack.push_async_callback(cluster.aclose)
        name = own_name(config)
        registry = KubernetesRegistry(
            cluster, watches=True, identity=name, owner=owner_of(config), rng=rng, metrics=metrics
        )
        stack.push_async_callback(registry.aclose)
        metrics.watch_apps(lambda: registry.apps().values())
        system: list[SystemApi] = []
        visitors = Proxy(
            registry,
            ProxySettings(config.proxy),
            verdict=verdict_of,
            now=now,
            rng=rng,
            proxy_id=name,
            meter=VisitorMetrics(metrics),
            system=lambda request: system[0].serve_by_header(request),
        )
        troubles: list[str] = []
        instance = _instance(config, registry, visitors, metrics, now, troubles)
        api = SystemApi(
            instance,
            enabled=config.system.api_enabled,
            token=config.system.token,
            read_only=READ_ONLY.format(namespace=cluster.namespace),
        )
        system.append(api)
        port = SystemPort(api, host=config.system.host, port=config.system.port)
        await stack.enter_async_context(port)
        log.info(
            "proxy in a cluster",
            extra={"namespace": cluster.namespace, "proxy": name, "system_port": port.port},
        )
        reached = await reach(
            lambda: registry.open(proxy=name),
            namespace=cluster.namespace,
            stop=stop,
            rng=rng,
            on_trouble=lambda trouble: troubles.__setitem__(slice(None), [trouble]),
        )
        troubles.clear()
        if reached:
            await _serve(visitors, config, stop)
    log.info("ended")


async def _serve(visitors: Proxy, config: Config, stop: asyncio.Event) -> None:
    serving = asyncio.Event()
    running = asyncio.ensure_future(serve_visitors(visitors, config, stop, serving))
    try:
        await serving.wait()
        if visitors.serving:
            log.info("serving visitors", extra={"port": visitors.port})
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def owner_of(config: Config) -> Mapping[str, Any] | None:
    """The Pod, as owner of this proxy's heartbeat: it goes when the Pod goes, and not before."""
    pod = config.cluster
    if pod.pod_name is None or pod.pod_uid is None:
        return None
    return {"apiVersion": "v1", "kind": "Pod", "name": pod.pod_name, "uid": pod.pod_uid}


def _instance(
    config: Config,
    registry: Registry,
    visitors: Proxy,
    metrics: Metrics,
    now: Callable[[], datetime],
    troubles: Sequence[str],
) -> Instance:
    """The system API's view: what the records tell, since no controller is in this process."""

    def ready() -> Health:
        if visitors.serving:
            return True, "visitors are served"
        return False, troubles[0] if troubles else "visitors are not served"

    return Instance(
        registry=registry,
        metrics=metrics,
        now=now,
        outlook=lambda app: outlook_from_record(app, now()),
        accounts=lambda: accounts_from_records(registry.apps()),
        addresses=lambda app: addresses_in_cluster(config, app),
        forget=refuse_to_forget,
        ready=ready,
        alive=lambda: (True, "the event loop turns"),
    )


def outlook_from_record(app: App, now: datetime) -> Outlook:
    """What will become of an app, told from its own record: what links to it is not looked at."""
    return foreseen({app.name: app}, _accounts({app.name: app}, now), now)(app)


def accounts_from_records(apps: Mapping[str, App]) -> list[AccountStatus]:
    """The accounts that apps belong to. A proxy may not read more, so how they stand is not told."""
    counts: dict[str, list[App]] = {}
    for app in apps.values():
        counts.setdefault(app.identity.account, []).append(app)
    return [
        AccountStatus(
            name=name,
            provider=owned[0].provider,
            mode=owned[0].policy.mode,
            reachable=None,
            message="Told from its apps alone; `kubectl get paastisaccounts` tells how it stands.",
            apps=len(owned),
        )
        for name, owned in sorted(counts.items())
    ]


def _accounts(apps: Mapping[str, App], now: datetime) -> dict[str, AccountRecord]:
    return {
        app.identity.account: AccountRecord(
            name=app.identity.account,
            provider=app.provider,
            mode=app.policy.mode,
            reachable=True,
            last_complete_listing=now,
        )
        for app in apps.values()
    }
