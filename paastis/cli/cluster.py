"""A cluster as the command line asks it: with the caller's own kubeconfig, and its rights.

Answers look like those of a running instance (`paastis.system.client`), so that every command shows
them alike. What an instance would add from its memory is told from the records, see
`paastis.cli.records`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from paastis.app import App, AppChange
from paastis.cli.place import Place
from paastis.cli.records import AccountRecord, foreseen
from paastis.errors import Conflict, Missing, PaastisError, UnknownApp
from paastis.registry.answers import Listing
from paastis.resources.app import app_from
from paastis.resources.names import ACCOUNTS, APPS, Resource
from paastis.resources.values import BadResource, time_text
from paastis.system import orders
from paastis.system.port import Outlook
from paastis.system.view import account_view, record_view

Json = dict[str, Any]


class Api(Protocol):
    """What commands need of `paastis.registry.cluster.Cluster`; its errors are described there."""

    @property
    def namespace(self) -> str: ...

    async def list(self, resource: Resource) -> Listing: ...

    async def get(self, resource: Resource, name: str) -> Json: ...

    async def patch(self, resource: Resource, name: str, body: Mapping[str, Any]) -> Json: ...


class NotInstalled(PaastisError):
    """The cluster does not know our resources."""


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
