"""What the two programs of a cluster have in common: who they are, and waiting for the API server."""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from paastis.app import App
from paastis.config import Config
from paastis.errors import (
    ConfigError,
    Forbidden,
    Missing,
    RegistryError,
    RegistryUnavailable,
)
from paastis.registry.cluster import Cluster
from paastis.system.orders import Pointless

log = logging.getLogger(__name__)

READ_ONLY = (
    "In a cluster this API only reads: change resources with your own rights, as in `paastis wake "
    "NAME -n {namespace}`, `paastis sleep NAME -n {namespace}`, or `kubectl edit paastisapp NAME -n "
    "{namespace}`."
)
"""What callers of the system API are told who want to change something."""

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
"""Seconds between two tries to reach the API server, doubling from the first to the last."""
_TOLD_AGAIN = 20
"""The same trouble is told again after so many tries."""


def require_cluster(config: Config, program: str) -> None:
    """Raises ConfigError where the registry is not one that several programs share."""
    if config.registry_type != "kubernetes":
        raise ConfigError(
            f"REGISTRY_TYPE: `paastis {program}` needs a registry that it shares with other "
            f"programs; given is {config.registry_type!r}, expected kubernetes. Everything in one "
            "process is `paastis run`."
        )


def own_name(config: Config) -> str:
    """What this process is called among its like: its Pod's name where it has one."""
    return config.cluster.pod_name or f"{socket.gethostname()}-{os.getpid()}"


async def connect(config: Config) -> Cluster:
    """The way to the API server, not used yet. Raises ConfigError."""
    return await Cluster.connect(environ=os.environ, namespace=config.cluster.namespace)


async def reach(
    look: Callable[[], Awaitable[None]],
    *,
    namespace: str,
    stop: asyncio.Event,
    rng: random.Random,
    on_trouble: Callable[[str], None],
) -> bool:
    """Call `look` until it finds what it needs in the cluster; False if `stop` was set first.

    Whatever is in the way is told with what to do about it, and tried again: people mend a cluster
    while its programs are running.
    """
    pause, told, times = _FIRST_PAUSE, "", 0
    while not stop.is_set():
        try:
            await look()
        except RegistryError as error:
            trouble = _trouble(error, namespace)
            on_trouble(trouble)
            times = times + 1 if trouble == told else 0
            if times % _TOLD_AGAIN == 0:
                log.warning(trouble)
            told = trouble
        else:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(pause * rng.uniform(0.5, 1.0)):
                await stop.wait()
        pause = min(2 * pause, _LONGEST_PAUSE)
    return False


def addresses_in_cluster(config: Config, app: App) -> tuple[str, ...]:
    """Where visitors reach the app, as far as that is known here, the best address first."""
    label = (app.policy.display_name or app.app_name).lower()
    hosts = [*app.policy.hosts, *(f"{label}.{base}" for base in config.proxy.base_domains)]
    return tuple(f"http://{host}/" for host in hosts)


async def refuse_to_forget() -> int:
    """Raises `Pointless`: records are resources, which people delete with their own rights."""
    raise Pointless("In a cluster records are forgotten with `kubectl delete paastisapp`.")


def _trouble(error: RegistryError, namespace: str) -> str:
    match error:
        case Missing():
            return (
                "The cluster does not know our resources, or there is no such namespace as "
                f"{namespace!r}: `kubectl apply --server-side -f crds/` adds the definitions. ({error})"
            )
        case Forbidden():
            return (
                f"What is needed in namespace {namespace!r} is not allowed: give this program's "
                f"ServiceAccount the Role of the chart. ({error})"
            )
        case RegistryUnavailable():
            return f"Waiting for the Kubernetes API. {error}"
    return f"The Kubernetes API refuses what is needed in namespace {namespace!r}. {error}"
