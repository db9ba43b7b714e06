"""The accounts of a cluster, live: PaastisAccounts and their Secrets become what the controller has.

Everything that happens (an event of a resource, of a Secret, an answer of a provider) ends in
`_settle`: judge all accounts anew, then bring the controller to that. It awaits nothing, so no two of
them mix.

Whose the credentials are, only the provider can say; it is asked while this controller leads. An
account that nobody has looked after yet waits for that answer, or for the failure to get one: else a
duplicate would add its apps a second time before it is known as one. One that was looked after goes
on at once.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from controller.accounts import Acts, Holding, Rests, Waits, holding, judge
from controller.credentials import Credentials
from controller.leaving import Leaving
from controller.resources import Resource, Resources, oldest_first
from controller.unusable import Unusable
from paastis.config import AccountConfig
from paastis.errors import ConfigError, ProviderError
from paastis.metrics import Metrics
from paastis.providers.port import Provider
from paastis.reasons import Reason
from paastis.resources.account import secret_name_of
from paastis.resources.standing import READY

log = logging.getLogger(__name__)

ASK_TIMEOUT = timedelta(seconds=15)
"""How long a provider may take to say whose the credentials are."""

ASK_AGAIN = timedelta(minutes=1)
"""Between two tries to have that answer."""


class Keeper(Protocol):
    """What is brought up to date; see `controller.program.Controller`."""

    def put_account(self, config: AccountConfig, provider: Provider) -> Provider | None:
        """Add an account or replace it; the provider that was replaced."""
        ...

    def drop_account(self, name: str) -> Provider | None:
        """Forget an account; its provider."""
        ...


class Secrets(Protocol):
    """The Secrets as they are followed; see `controller.credentials.SecretsFollowed`."""

    def of(self, name: str) -> Credentials | None: ...

    def follow(self, names: Iterable[str]) -> None: ...

    async def run(self) -> None: ...


class Open(Protocol):
    """How a provider is opened; see `paastis.providers.load.open_provider`."""

    def __call__(self, account: AccountConfig, *, before: Provider | None) -> Provider: ...


@dataclass(slots=True)
class _Held:
    """An account with the provider that it has, put in the controller's hands or not yet."""

    config: AccountConfig
    provider: Provider
    holding: Holding | None
    """None: its provider is one that can do nothing."""
    put: bool = False


class ClusterAccounts:
    """All accounts of the namespace."""

    def __init__(
        self,
        keeper: Keeper,
        secrets: Callable[[Callable[[str], None]], Secrets],
        *,
        open_provider: Open,
        leading: Callable[[], bool],
        on_news: Callable[[str], None],
        on_dropped: Callable[[str], None],
        insecure: bool,
        ignored_apps: tuple[str, ...],
        metrics: Metrics,
    ) -> None:
        """`secrets` makes the follower of Secrets, which is given whom to tell of changes.

        `on_news` is told of each account of which there is more to say, `on_dropped` of each that
        was taken from the controller.
        """
        self.resources = Resources()
        self._keeper = keeper
        self._secrets = secrets(lambda _: self._settle())
        self._open = open_provider
        self._leading = leading
        self._on_news = on_news
        self._on_dropped = on_dropped
        self._insecure = insecure
        self._ignored_apps = ignored_apps
        self._metrics = metrics
        self._held: dict[str, _Held] = {}
        self._problems: dict[str, tuple[Reason, str]] = {}
        self._owners: dict[Holding, str] = {}
        self._tried: set[Holding] = set()
        """Credentials whose owner was asked for, with or without an answer."""
        self._waiting: set[str] = set()
        """Accounts whose Secret was not read yet."""
        self._look = asyncio.Event()
        self._settled = asyncio.Event()
        self._ask_at: dict[Holding, float] = {}
        """When to ask again for an owner that could not be had, in the loop's seconds."""
        self._leaving = Leaving(metrics)

    # --- what is told

    def take(self, kind: str | None, resource: Resource) -> None:
        """An event of the watch."""
        if (name := self.resources.take(kind, resource)) is not None:
            self._on_news(name)
            self._settle()

    def compare(self, listed: Sequence[Resource], version: int) -> None:
        """A full list."""
        for name in self.resources.compare(listed, version):
            self._on_news(name)
        self._settle()

    def look(self) -> None:
        """This controller leads by now: what only a leader asks can be asked."""
        self._look.set()

    # --- what is known

    def problem_of(self, name: str) -> tuple[Reason, str] | None:
        """What keeps the account from acting, and a sentence about it."""
        return self._problems.get(name)

    async def settled(self, within: timedelta) -> None:
        """Return when every account's Secret was read, at the latest after that time."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._settled.wait()
        except TimeoutError:
            log.warning(
                "not every Secret could be read yet", extra={"accounts": sorted(self._waiting)}
            )

    # --- the work

    async def run(self) -> None:
        """Follow the Secrets and ask the providers, for ever; closes all providers at the end."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._secrets.run(), name="secrets")
                group.create_task(self._ask_owners(), name="owners")
        finally:
            await self._leaving.close_all()
            for held in self._held.values():
                await self._leaving.close(held.provider)

    def _settle(self) -> None:
        resources = self.resources.all()
        names = {secret_name_of(resource) for resource in resources.values()}
        self._secrets.follow(name for name in names if name is not None)
        verdicts = judge(
            resources.values(),
            self._secrets.of,
            self._owners,
            insecure=self._insecure,
            ignored_apps=self._ignored_apps,
        )
        for name in self._held.keys() - verdicts.keys():
            self._drop(name)
        problems: dict[str, tuple[Reason, str]] = {}
        for name, verdict in verdicts.items():
            match verdict:
                case Acts(config):
                    if (refused := self._act(config)) is not None:
                        problems[name] = refused
                case Rests(reason, message, config):
                    problems[name] = (reason, message)
                    self._rest(config, reason, message)
                case Waits():
                    pass
        self._tell(problems)
        self._waiting = {name for name, said in verdicts.items() if isinstance(said, Waits)}
        if self._waiting:
            self._settled.clear()
        else:
            self._settled.set()
        self._look.set()

    def _tell(self, problems: dict[str, tuple[Reason, str]]) -> None:
        before, self._problems = self._problems, problems
        for name in before.keys() | problems.keys():
            if before.get(name) != problems.get(name):
                self._on_news(name)
                if (problem := problems.get(name)) is not None:
                    log.warning(
                        "account rests: %s", problem[1], extra={"account": name, "why": problem[0]}
                    )

    def _act(self, config: AccountConfig) -> tuple[Reason, str] | None:
        """Let the account act, at once or once its owner was asked for."""
        wanted = holding(config)
        held = self._held.get(config.name)
        provider = held.provider if held is not None else None
        if held is None or provider is None or not _serves(held, config):
            try:
                provider = self._open(config, before=provider)
            except ConfigError as error:
                self._rest(config, Reason.ACCOUNT_INVALID, str(error))
                return Reason.ACCOUNT_INVALID, str(error)
        known = self._was_looked_after(config.name) or wanted in self._tried
        if known or (held is not None and held.put):
            self._put(config, provider, wanted)
        elif held is None or held.provider is not provider:
            if held is not None:
                self._leaving.add(held.provider)
            self._held[config.name] = _Held(config, provider, wanted)
        else:
            held.config = config
        return None

    def _rest(self, config: AccountConfig, reason: Reason, message: str) -> None:
        if reason is Reason.DUPLICATE:
            self._drop(config.name)
            return
        held = self._held.get(config.name)
        if reason is Reason.ACCOUNT_INVALID and held is not None and held.put:
            return  # what was last said well goes on to hold
        if held is not None and held.holding is None and held.config == config:
            assert isinstance(held.provider, Unusable)  # noqa: S101 - nothing else holds nothing
            held.provider.why = message
            return
        self._put(config, Unusable(message), None)

    def _put(self, config: AccountConfig, provider: Provider, wanted: Holding | None) -> None:
        held = self._held.get(config.name)
        if held is not None and held.put and held.provider is provider and held.config == config:
            return
        self._keeper.put_account(config, provider)
        if held is not None and held.provider is not provider:
            self._leaving.add(held.provider)
        self._held[config.name] = _Held(config, provider, wanted, put=True)

    def _drop(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is None:
            return
        if held.put:
            self._keeper.drop_account(name)
            self._on_dropped(name)
        self._leaving.add(held.provider)

    def _was_looked_after(self, name: str) -> bool:
        """Whether a controller has listed its apps before, and did not find it a duplicate."""
        resource = self.resources.get(name)
        status = (resource or {}).get("status") or {}
        ready = next(
            (one for one in status.get("conditions") or () if one.get("type") == READY), None
        )
        rested = ready is not None and ready.get("reason") == Reason.DUPLICATE
        return "lastCompleteListing" in status and not rested

    # --- whose the credentials are

    async def _ask_owners(self) -> None:
        while True:
            self._look.clear()
            if self._leading():
                await self._ask_each()
            await self._leaving.close_due()
            try:
                async with asyncio.timeout(self._until_next()):
                    await self._look.wait()
            except TimeoutError:
                continue

    def _until_next(self) -> float | None:
        """Seconds until there is something to do though nothing happens."""
        closing = self._leaving.next_at()
        times = [] if closing is None else [closing]
        if self._leading():
            times += [
                at
                for held in self._held.values()
                if held.holding is not None and (at := self._ask_at.get(held.holding)) is not None
            ]
        return max(0.0, min(times) - _loop_time()) if times else None

    async def _ask_each(self) -> None:
        """Ask for each owner that is not known yet, of the oldest account first."""
        for resource in oldest_first(list(self.resources.all().values())):
            held = self._held.get(str(resource["metadata"]["name"]))
            if held is None or held.holding is None or held.holding in self._owners:
                continue
            wanted = held.holding
            if self._ask_at.get(wanted, 0.0) > _loop_time():
                continue
            owner = await self._owner(held)
            self._tried.add(wanted)
            if owner is None:
                self._ask_at[wanted] = _loop_time() + ASK_AGAIN.total_seconds()
            else:
                self._ask_at.pop(wanted, None)
                self._owners[wanted] = owner
            self._settle()

    async def _owner(self, held: _Held) -> str | None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT.total_seconds()):
                return await held.provider.check()
        except (ProviderError, TimeoutError) as error:
            words = str(error) or "no answer"
            log.warning(
                "cannot ask whose the credentials are",
                extra={"account": held.config.name, "error": words},
            )
        except Exception:
            log.exception("unexpected fault", extra={"account": held.config.name})
            self._metrics.errors.labels("accounts").inc()
        return None


def _serves(held: _Held, config: AccountConfig) -> bool:
    """Whether the provider that is held is also the one for this configuration."""
    same = (
        held.config.regions == config.regions
        and held.config.organisations == config.organisations
        and held.config.operation_timeout == config.operation_timeout
        and held.config.calls_per_minute == config.calls_per_minute
    )
    return same and held.holding == holding(config)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
