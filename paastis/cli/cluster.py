"""A cluster as the command line asks it: with the caller's own kubeconfig, and its rights.

Answers look like those of a running instance (`paastis.system.client`), so that every command shows
them alike. What an instance would add from its memory is told from the records, see
`paastis.cli.records`.
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from paastis.app import App, AppChange
from paastis.cli.records import AccountRecord, foreseen
from paastis.cli.settings import overrides_of
from paastis.config import values
from paastis.config.cluster import cluster_config
from paastis.config.files import read_files
from paastis.errors import ConfigError, Conflict, Missing, PaastisError, UnknownApp
from paastis.registry.answers import Listing
from paastis.resources.app import app_from
from paastis.resources.names import ACCOUNTS, APPS, Resource
from paastis.resources.values import BadResource, time_text
from paastis.system import orders
from paastis.system.port import Outlook
from paastis.system.view import account_view, record_view

Json = dict[str, Any]
_Command = TypeVar("_Command", bound=Callable[..., Any])


class Api(Protocol):
    """What commands need of `paastis.registry.cluster.Cluster`; its errors are described there."""

    @property
    def namespace(self) -> str: ...

    async def list(self, resource: Resource) -> Listing: ...

    async def get(self, resource: Resource, name: str) -> Json: ...

    async def patch(self, resource: Resource, name: str, body: Mapping[str, Any]) -> Json: ...


class NotInstalled(PaastisError):
    """The cluster does not know our resources."""


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
async def opened_cluster(place: Place, environ: Mapping[str, str]) -> AsyncIterator[Api]:
    """The way to the API server. Raises ConfigError where there is none."""
    from paastis.registry.cluster import Cluster  # its client takes long to import

    cluster = await Cluster.connect(
        environ=environ, namespace=place.namespace, context=place.context
    )
    try:
        yield cluster
    finally:
        await cluster.aclose()


async def resources_of(cluster: Api, resource: Resource) -> list[Json]:
    """All resources of that kind. Raises NotInstalled, and what the cluster raises."""
    try:
        return list((await cluster.list(resource)).items)
    except Missing:
        raise NotInstalled(
            f"The cluster has no {resource.plural}.{resource.group}: paastis is not installed "
            "there, or its definitions are missing (kubectl apply --server-side -f crds/)."
        ) from None


async def apps_of(cluster: Api, warn: Callable[[str], None]) -> dict[str, App]:
    """All apps by record name; what cannot be read is told and left out."""
    found: dict[str, App] = {}
    for resource in await resources_of(cluster, APPS):
        try:
            app = app_from(resource)
        except BadResource as error:
            warn(str(error))
        else:
            found[app.name] = app
    return found


class ClusterClient:
    """What `SystemClient` asks of a running instance, asked of the records of a cluster.

    For one command: what it listed once, it does not list again. All methods raise NotInstalled
    and the children of `RegistryError`; `warn` takes sentences for people.
    """

    def __init__(
        self,
        cluster: Api,
        *,
        place: Place,
        now: Callable[[], datetime],
        warn: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._place = place
        self._now = now
        self._warn = warn
        self._listed: _Records | None = None

    @property
    def namespace(self) -> str:
        """Where it looks."""
        return self._cluster.namespace

    async def apps(self) -> list[Json]:
        """All apps, by name."""
        records = await self._records()
        outlooks = foreseen(records.apps(), records.accounts, self._now())
        return [self._view(app, outlooks) for _, app in sorted(records.apps().items())]

    async def app(self, name: str) -> Json:
        """One app, by its record's name or its remote name."""
        records = await self._records()
        found = orders.find(records, name)
        return self._view(found, foreseen(records.apps(), records.accounts, self._now()))

    async def wake(self, name: str) -> Json:
        """Keep an app awake for one idle time from now; answers with the app."""
        records = await self._records()
        await orders.wake(records, name, now=self._now())
        return await self.app(name)

    async def sleep(self, name: str) -> Json:
        """Put an app to sleep now; answers with the app."""
        records = await self._records()
        await orders.sleep(records, name)
        return await self.app(name)

    async def accounts(self) -> list[Json]:
        """All accounts."""
        records = await self._records()
        owners = [app.identity.account for app in records.apps().values()]
        return [
            account_view(account.status(owners.count(name)))
            for name, account in sorted(records.accounts.items())
        ]

    def _view(self, app: App, outlooks: Callable[[App], Outlook]) -> Json:
        label = (app.policy.display_name or app.app_name).lower()
        hosts = [*app.policy.hosts, *(f"{label}.{base}" for base in self._place.base_domains)]
        return record_view(app, outlooks(app), [f"http://{host}/" for host in hosts])

    async def _records(self) -> "_Records":
        if self._listed is None:
            apps = await apps_of(self._cluster, self._warn)
            accounts = map(AccountRecord.of, await resources_of(self._cluster, ACCOUNTS))
            self._listed = _Records(
                self._cluster, apps, {account.name: account for account in accounts}
            )
        return self._listed


class _Records:
    """The records as they were listed, and as orders' writes have shown them since."""

    def __init__(
        self, cluster: Api, apps: dict[str, App], accounts: Mapping[str, AccountRecord]
    ) -> None:
        self._cluster = cluster
        self._apps = apps
        self.accounts = accounts

    def apps(self) -> Mapping[str, App]:
        """All apps by record name."""
        return self._apps

    async def update(self, name: str, change: AppChange, *, seen_version: int) -> App:
        """Write the two overrides that orders are made of, and nothing else of the spec."""
        order = change["overrides"]
        until = order.awake_until
        body = {
            "metadata": {"resourceVersion": str(seen_version)},
            "spec": {
                "awakeUntil": None if until is None else time_text(until),
                "sleepFor": order.sleep_for,
            },
        }
        try:
            try:
                written = await self._cluster.patch(APPS, name, body)
            except Conflict:
                self._apps[name] = app_from(await self._cluster.get(APPS, name))
                raise
        except Missing:
            del self._apps[name]
            raise UnknownApp(f"{name} was deleted at this moment.") from None
        self._apps[name] = app_from(written)
        return self._apps[name]
