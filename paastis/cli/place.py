"""Which cluster a command means, as far as its options and the environment say it."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from paastis.cli.settings import overrides_of
from paastis.config import values
from paastis.config.cluster import cluster_config
from paastis.config.files import read_files
from paastis.errors import ConfigError

if TYPE_CHECKING:
    from paastis.registry.cluster import Cluster

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Place:
    """Which cluster is meant, as far as it was said."""

    namespace: str | None = None
    """None: the context's own."""
    context: str | None = None
    """None: the current one."""
    base_domains: tuple[str, ...] = ()
    """As in ROUTING_BASE_DOMAINS; empty: it is not known here under which ones apps are served."""


def namespace_options(command: _Command) -> _Command:
    """`--namespace` and `--context`, as kubectl has them."""
    command = click.option(
        "--context",
        metavar="NAME",
        help="A context of the kubeconfig; without it, the current one.",
    )(command)
    return click.option(
        "-n",
        "--namespace",
        metavar="NAME",
        help="The installation's namespace (REGISTRY_KUBERNETES_NAMESPACE); without it, the context's.",
    )(command)


def cluster_options(command: _Command) -> _Command:
    """The three options any of which says that a cluster is meant, not this machine."""
    command = namespace_options(command)
    return click.option(
        "--kubernetes",
        is_flag=True,
        help="Ask a cluster with your kubeconfig; implied by -n, --context and "
        "REGISTRY_TYPE=kubernetes.",
    )(command)


def place_of(
    config_file: Path | None,
    settings: tuple[str, ...],
    *,
    kubernetes: bool,
    namespace: str | None,
    context: str | None,
) -> Place | None:
    """The cluster that is meant; None: this machine.

    Reads no more of the configuration than it needs: no provider's token. Raises ConfigError.
    """
    given = overrides_of(config_file, settings, REGISTRY_KUBERNETES_NAMESPACE=namespace)
    files = read_files(Path.cwd(), environ=os.environ, overrides=given)
    reader = files.reader()
    meant = kubernetes or namespace is not None or context is not None
    kind = (reader.given("REGISTRY_TYPE") or "").lower()
    if not meant and kind != "kubernetes":
        return None
    place = Place(
        namespace=cluster_config(reader).namespace,
        context=context,
        base_domains=reader.listing("ROUTING_BASE_DOMAINS", values.domain),
    )
    if files.problems or reader.problems:
        raise ConfigError([*files.problems, *reader.problems])
    return place


@asynccontextmanager
async def opened_cluster(place: Place, environ: Mapping[str, str]) -> AsyncIterator["Cluster"]:
    """The way to the API server. Raises ConfigError where there is none."""
    from paastis.registry.cluster import Cluster  # its client takes long to import

    cluster = await Cluster.connect(
        environ=environ, namespace=place.namespace, context=place.context
    )
    try:
        yield cluster
    finally:
        await cluster.aclose()
