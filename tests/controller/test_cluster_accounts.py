"""Accounts of a cluster become what the controller has, and follow what people change."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from controller import cluster_accounts, leaving
from controller.cluster_accounts import ClusterAccounts
from controller.credentials import Credentials
from controller.unusable import Unusable
from paastis.config import AccountConfig
from paastis.errors import Unauthorized, Unavailable
from paastis.metrics import Metrics
from paastis.policy import Mode
from paastis.providers.port import Provider
from paastis.reasons import Reason
from paastis.secret import Secret
from tests.controller.conftest import until
from tests.controller.resources import Object, account

LISTED = {
    "lastCompleteListing": "2026-01-01T00:00:00Z",
    "conditions": [{"type": "Ready", "reason": "Reachable"}],
}
"""The status of an account whose apps some controller has listed."""


class Vendor(Unusable):
    """A provider that knows who its token belongs to, and nothing else."""

    def __init__(self, token: str, owners: dict[str, str | Exception]) -> None:
        super().__init__("not asked for by these tests")
        self.token = token
        self.checks = 0
        self.closed = False
        self._owners = owners

    async def check(self) -> str:
        self.checks += 1
        owner = self._owners.get(self.token, self.token)
        if isinstance(owner, Exception):
            raise owner
        return owner

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class World:
    """The accounts, and everything around them that tests turn."""

    leading: bool = True
    secrets: dict[str, Credentials] = field(default_factory=dict)
    owners: dict[str, str | Exception] = field(default_factory=dict)
    put: dict[str, tuple[AccountConfig, Provider]] = field(default_factory=dict)
    opened: list[tuple[Vendor, Provider | None]] = field(default_factory=list)
    news: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    followed: frozenset[str] = frozenset()
    on_secret: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.accounts = ClusterAccounts(
            self,
            self._made_secrets,
            open_provider=self._open,
            leading=lambda: self.leading,
            on_news=self.news.append,
            on_dropped=self.dropped.append,
            insecure=False,
            ignored_apps=(),
            metrics=Metrics(),
        )

    # --- what the accounts are given

    def _made_secrets(self, on_change: Callable[[str], None]) -> "World":
        self.on_secret = on_change
        return self

    def of(self, name: str) -> Credentials | None:
        return self.secrets.get(name)

    def follow(self, names: Iterable[str]) -> None:
        self.followed = frozenset(names)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def _open(self, account: AccountConfig, *, before: Provider | None) -> Provider:
        vendor = Vendor(account.credentials["api_token"].reveal(), self.owners)
        self.opened.append((vendor, before))
        return vendor

    def put_account(self, config: AccountConfig, provider: Provider) -> Provider | None:
        replaced = self.put.get(config.name)
        self.put[config.name] = (config, provider)
        return None if replaced is None or replaced[1] is provider else replaced[1]

    def drop_account(self, name: str) -> Provider | None:
        return self.put.pop(name)[1]

    # --- what tests do

    def token(self, name: str, token: str) -> None:
        self.secret(name, Credentials({"api_token": Secret(token)}))

    def secret(self, name: str, found: Credentials) -> None:
        self.secrets[name] = found
        self.on_secret(name)

    def vendor(self, name: str) -> Vendor:
        provider = self.put[name][1]
        assert isinstance(provider, Vendor)
        return provider

    def problem(self, name: str) -> Reason | None:
        found = self.accounts.problem_of(name)
        return None if found is None else found[0]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.accounts.run())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def listed(resource: Object) -> Object:
    return {**resource, "status": LISTED}


def changed(resource: Object, **spec: object) -> Object:
    version = int(resource["metadata"]["resourceVersion"]) + 1
    return {
        **resource,
        "metadata": {**resource["metadata"], "resourceVersion": str(version)},
        "spec": {**resource["spec"], **spec},
    }


async def test_new_account_acts_once_the_leader_knows_whose_it_is() -> None:
    world = World(leading=False)
    world.token("prod-token", "tk")
    async with world.running():
        world.accounts.take("ADDED", account("prod"))
        await asyncio.sleep(0)
        assert world.put == {}
        assert world.followed == {"prod-token"}

        world.leading = True
        world.accounts.look()
        await until(lambda: "prod" in world.put)

        assert world.vendor("prod").checks == 1


async def test_account_that_was_looked_after_goes_on_at_once_and_asks_nothing() -> None:
    world = World(leading=False)
    world.token("prod-token", "tk")
    async with world.running():
        world.accounts.take(None, listed(account("prod")))

        assert world.vendor("prod").checks == 0
        await world.accounts.settled(cluster_accounts.ASK_TIMEOUT)


async def test_account_whose_owner_cannot_be_asked_acts_all_the_same() -> None:
    world = World(owners={"tk": Unavailable("the provider is away")})
    world.token("prod-token", "tk")
    async with world.running():
        world.accounts.take("ADDED", account("prod"))
        await until(lambda: "prod" in world.put)
        await asyncio.sleep(0.05)

        assert world.vendor("prod").checks == 1  # and again in a minute


async def test_rotated_token_is_used_at_once_and_goes_on_with_the_same_budget() -> None:
    world = World()
    world.token("prod-token", "old")
    async with world.running():
        world.accounts.take("ADDED", listed(account("prod")))
        before = world.vendor("prod")

        world.token("prod-token", "new")

        after = world.vendor("prod")
        assert (before.token, after.token) == ("old", "new")
        assert world.opened[-1] == (after, before)
        assert not before.closed  # its calls may still be on their way
    assert [before.closed, after.closed] == [True, True]


async def test_provider_that_was_replaced_is_closed_when_its_calls_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaving, "LAST_CALLS", leaving.LAST_CALLS / 2000)
    world = World()
    world.token("prod-token", "old")
    async with world.running():
        world.accounts.take("ADDED", listed(account("prod")))
        before = world.vendor("prod")
        world.token("prod-token", "new")

        await until(lambda: before.closed)

        assert not world.vendor("prod").closed


async def test_change_that_is_none_of_the_providers_keeps_it() -> None:
    world = World()
    world.token("prod-token", "tk")
    async with world.running():
        resource = listed(account("prod"))
        world.accounts.take("ADDED", resource)
        vendor = world.vendor("prod")

        world.accounts.take("MODIFIED", changed(resource, mode="Manage"))

        assert world.put["prod"][0].mode is Mode.MANAGE
        assert world.vendor("prod") is vendor
        world.accounts.take("MODIFIED", changed(changed(resource), regions=["osc-fr1"]))
        assert world.vendor("prod") is not vendor


async def test_account_without_secret_stays_and_can_do_nothing() -> None:
    world = World()
    world.token("prod-token", "tk")
    async with world.running():
        world.accounts.take("ADDED", listed(account("prod")))
        world.secret("prod-token", Credentials(problem=Reason.SECRET_MISSING, message="Gone."))

        assert world.problem("prod") is Reason.SECRET_MISSING
        with pytest.raises(Unauthorized, match=r"Gone\."):
            await world.put["prod"][1].list_apps()

        world.token("prod-token", "tk")
        assert world.problem("prod") is None
        assert world.vendor("prod").token == "tk"


async def test_spec_that_turned_bad_is_told_and_what_was_said_well_goes_on() -> None:
    world = World()
    world.token("prod-token", "tk")
    async with world.running():
        resource = listed(account("prod", mode="Manage"))
        world.accounts.take("ADDED", resource)
        vendor = world.vendor("prod")

        world.accounts.take("MODIFIED", changed(resource, regions=["?"]))

        assert world.problem("prod") is Reason.ACCOUNT_INVALID
        assert world.put["prod"] == (world.put["prod"][0], vendor)
        assert world.put["prod"][0].mode is Mode.MANAGE


async def test_spec_that_was_never_good_is_no_missing_account() -> None:
    world = World()
    world.token("prod-token", "tk")
    async with world.running():
        world.accounts.take("ADDED", account("prod", regions=["?"]))

        assert world.put["prod"][0].mode is Mode.PAUSE
        with pytest.raises(Unauthorized, match="regions"):
            await world.put["prod"][1].check()


async def test_duplicate_rests_and_comes_alive_when_the_older_one_goes() -> None:
    world = World(owners={"tk-1": "demo", "tk-2": "demo"})
    world.token("old-token", "tk-1")
    world.token("young-token", "tk-2")
    async with world.running():
        world.accounts.take("ADDED", account("young", created=2))
        old = account("old", created=1)
        world.accounts.take("ADDED", old)
        await until(lambda: world.problem("young") is Reason.DUPLICATE)
        assert set(world.put) == {"old"}

        world.accounts.take("DELETED", changed(old))

        assert set(world.put) == {"young"}
        assert world.problem("young") is None
        assert world.dropped == ["old"]


async def test_known_duplicate_adds_nothing_before_it_was_asked_for_again() -> None:
    world = World(leading=False, owners={"tk-1": "demo", "tk-2": "demo"})
    world.token("old-token", "tk-1")
    world.token("young-token", "tk-2")
    duplicate = {**LISTED, "conditions": [{"type": "Ready", "reason": "Duplicate"}]}
    async with world.running():
        world.accounts.take(None, {**account("young", created=2), "status": duplicate})
        world.accounts.take(None, listed(account("old", created=1)))
        await asyncio.sleep(0)
        assert set(world.put) == {"old"}

        world.leading = True
        world.accounts.look()
        await until(lambda: world.problem("young") is Reason.DUPLICATE)
        assert set(world.put) == {"old"}


async def test_deletion_that_nobody_told_of_is_found_by_comparing() -> None:
    world = World()
    world.token("prod-token", "tk")
    async with world.running():
        world.accounts.take("ADDED", listed(account("prod")))

        world.accounts.compare([], version=5)

        assert world.put == {}
        assert world.dropped == ["prod"]
        assert world.followed == frozenset()


async def test_accounts_are_settled_when_the_last_secret_was_read() -> None:
    world = World()
    world.token("a-token", "tk-a")
    async with world.running():
        world.accounts.compare([account("a"), account("b")], version=3)
        settled = asyncio.create_task(world.accounts.settled(cluster_accounts.ASK_TIMEOUT))
        await asyncio.sleep(0.02)
        assert not settled.done()

        world.secret("b-token", Credentials(problem=Reason.SECRET_FORBIDDEN, message="No."))

        await settled
