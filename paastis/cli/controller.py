"""`paastis controller`: decides for the apps of a cluster's namespace."""

import asyncio
import logging
import os
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import click

from controller.cluster_program import ClusterProgram
from controller.operator import OperatorEnded
from paastis.cli.in_cluster import (
    READ_ONLY,
    addresses_in_cluster,
    connect,
    own_name,
    reach,
    refuse_to_forget,
    require_cluster,
)
from paastis.cli.instance import account_statuses, decided
from paastis.cli.process import give_large_blocks_back, stop_on_signals
from paastis.cli.providers import forget_provider, measured_provider, protect_secrets
from paastis.cli.settings import configuration_options, new_random, read_settings, utc_now
from paastis.config import Config
from paastis.logs import configure_logging
from paastis.metrics import Metrics
from paastis.registry.kubernetes import KubernetesRegistry
from paastis.system.api import SystemApi
from paastis.system.port import Health, Instance
from paastis.system.server import SystemPort

log = logging.getLogger(__name__)


@click.command()
@configuration_options
def controller(*, config_file: Path | None, settings: tuple[str, ...]) -> None:
    """Decide for a cluster's apps: discover them, put the idle ones to sleep, wake the wanted ones.

    Needs REGISTRY_TYPE=kubernetes. Accounts and rules are resources of the namespace. Of several,
    one leads at a time and the others stand by.
    """
    config = read_settings(config_file, settings)
    require_cluster(config, "controller")
    configure_logging(config.logging_level, config.logging_format, sys.stderr)
    give_large_blocks_back()
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
            cluster, watches=False, identity=name, rng=rng, metrics=metrics
        )
        stack.push_async_callback(registry.aclose)
        metrics.watch_apps(lambda: registry.apps().values())
        program = ClusterProgram(
            cluster,
            registry,
            config=config,
            identity=name,
            open_provider=lambda account, *, before: measured_provider(
                account, now=now, metrics=metrics, before=before
            ),
            forget_provider=lambda account: forget_provider(account, metrics),
            environ=os.environ,
            now=now,
            rng=rng,
            metrics=metrics,
        )
        troubles: list[str] = []
        instance = _instance(config, registry, program, metrics, now, troubles)
        port = _port(config, instance, cluster.namespace)
        await stack.enter_async_context(port)
        log.info(
            "controller in a cluster",
            extra={"namespace": cluster.namespace, "controller": name, "system_port": port.port},
        )
        # The watch's own probe begins with the watch. Until then it is answered from here.
        async with _probe(config, instance):
            reached = await reach(
                program.open,
                namespace=cluster.namespace,
                stop=stop,
                rng=rng,
                on_trouble=lambda trouble: troubles.__setitem__(slice(None), [trouble]),
            )
        troubles.clear()
        if reached:
            await _run_to_the_end(program, stop, port)
    log.info("ended")


async def _run_to_the_end(program: ClusterProgram, stop: asyncio.Event, port: SystemPort) -> None:
    """Raises OperatorEnded by itself, not among others."""
    ended: OperatorEnded | None = None
    try:
        await program.run(stop, started=lambda: stop_on_signals(stop), last=port.aclose)
    except* OperatorEnded as group:
        ended = next(error for error in group.exceptions if isinstance(error, OperatorEnded))
    if ended is not None:
        raise ended


def _port(config: Config, instance: Instance, namespace: str) -> SystemPort:
    api = SystemApi(
        instance,
        enabled=config.system.api_enabled,
        token=config.system.token,
        read_only=READ_ONLY.format(namespace=namespace),
    )
    return SystemPort(api, host=config.system.host, port=config.system.port)


def _probe(config: Config, instance: Instance) -> SystemPort:
    return SystemPort(
        SystemApi(instance),
        host=config.system.host,
        port=config.controller.probe_port,
        variable="CONTROLLER_PROBE_PORT",
    )


def _instance(
    config: Config,
    registry: KubernetesRegistry,
    program: ClusterProgram,
    metrics: Metrics,
    now: Callable[[], datetime],
    troubles: Sequence[str],
) -> Instance:
    def ready() -> Health:
        return (False, troubles[0]) if troubles else program.ready()

    controller = program.controller
    return Instance(
        registry=registry,
        metrics=metrics,
        now=now,
        outlook=lambda app: decided(app, controller, config),
        accounts=lambda: account_statuses(controller, registry),
        addresses=lambda app: addresses_in_cluster(config, app),
        forget=refuse_to_forget,
        ready=ready,
        alive=program.alive,
    )
