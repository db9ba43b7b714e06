"""Discovery: list an account's apps, compare with the records, write the difference.

Runs at the start and then as its cron expression says, or at the account's own interval. A listing that takes longer, because the
provider is slow or the budget short, delays the next one and is told as a condition; none is
skipped in silence. A failed or partial listing removes nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from controller.account import Account
from controller.learning import Learning, is_news
from controller.settling import owes_restore, put_to_sleep_by_us
from controller.slices import Slices
from controller.tools import Tools
from paastis.app import Activity, App, AppChange, Identity, Phase, Retry
from paastis.errors import (
    Conflict,
    ProviderError,
    RateLimited,
    RegistryError,
    Unauthorized,
    UnknownApp,
)
from paastis.plan import Found, Plan, plan
from paastis.providers.port import Listing, RemoteApp
from paastis.reasons import Reason
from paastis.schedule import next_firing

log = logging.getLogger(__name__)

INTERVALS_FRESH = 3
"""For how many discovery intervals a look at the provider justifies a stop."""

LISTING_TIMEOUT = timedelta(minutes=5)
WRITES_AT_A_TIME = 20
"""Fast enough, and what a visitor's wake writes meets no more than these on its way."""
REMOVE_TRIES = 3

_FAILURES = (Reason.CREDENTIALS_REFUSED, Reason.RATE_LIMITED, Reason.UNREACHABLE)
"""Why there is no listing; one at a time."""


_CHANGED = "The account was changed while its apps were listed: list again."


class _Superseded(ProviderError):
    """The account got another provider while the old one was asked."""


class Discovery:
    """The discovery of one account."""

    def __init__(
        self,
        tools: Tools,
        account: Account,
        *,
        of_new: Callable[[App], App],
        cron: str,
        touch: Callable[[str], None],
        on_listing: Callable[[str, timedelta, bool], None],
    ) -> None:
        self._tools = tools
        self._account = account
        self._of_new = of_new
        self._cron = cron
        self._touch = touch
        self._on_listing = on_listing
        self._learning = Learning(tools, account, touch=touch)
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """List again as soon as possible."""
        self._asked.set()

    async def run(self) -> None:
        """List for ever; cancel to end."""
        while True:
            self._asked.clear()
            began = self._tools.now()
            self._set_freshness(began)
            if await self._guarded_turn(began):
                await self._wait(began)

    def _set_freshness(self, now: datetime) -> None:
        first = self._due_after(now)
        fresh_for = INTERVALS_FRESH * (self._due_after(first) - first)
        self._tools.knowledge.fresh_for[self._account.name] = fresh_for

    def _due_after(self, moment: datetime) -> datetime:
        """When the listing after one at that time is due."""
        interval = self._account.config.discovery_interval
        if interval is not None:
            return moment + interval
        return next_firing(self._cron, moment) or moment + timedelta(hours=1)

    async def _wait(self, began: datetime) -> None:
        due = self._due_after(began)
        late = self._tools.now() - due
        message = None
        if late > timedelta(0):
            message = "Listing the apps takes longer than the interval between two listings."
        self._account.tell(Reason.BUDGET_SHORT, message, self._tools.now())
        wait = max((due - self._tools.now()).total_seconds(), 0)
        try:
            async with asyncio.timeout(wait):
                await self._asked.wait()
        except TimeoutError:
            return

    async def _guarded_turn(self, began: datetime) -> bool:
        """List once; False where that has to be done again at once."""
        account = self._account
        complete = False
        try:
            listing = await self._list()
            complete = listing.complete
            await self._take_in(listing)
        except _Superseded:
            return False
        except TimeoutError:
            self._failed(Reason.UNREACHABLE, "The provider does not answer.")
        except Unauthorized as error:
            self._failed(Reason.CREDENTIALS_REFUSED, str(error))
        except RateLimited as error:
            self._failed(Reason.RATE_LIMITED, str(error))
        except ProviderError as error:
            self._failed(Reason.UNREACHABLE, str(error))
        except RegistryError as error:
            log.warning("registry", extra={"account": account.name, "error": str(error)})
        except Exception:
            log.exception("unexpected fault", extra={"account": account.name})
            self._tools.metrics.errors.labels("discovery").inc()
        self._on_listing(account.name, self._tools.now() - began, complete)
        return True

    async def _list(self) -> Listing:
        """Ask the provider. What one that was replaced meanwhile says, or fails at, is void."""
        provider = self._account.provider
        try:
            async with asyncio.timeout(LISTING_TIMEOUT.total_seconds()):
                listing = await provider.list_apps()
        except Exception as error:
            if provider is not self._account.provider:
                raise _Superseded(_CHANGED) from error
            raise
        if provider is not self._account.provider:
            raise _Superseded(_CHANGED)
        return listing

    def _failed(self, reason: Reason, words: str) -> None:
        account = self._account
        now = self._tools.now()
        account.reachable = False
        for other in _FAILURES:
            if other is not reason:
                account.tell(other, None, now)
        changed = account.tell(reason, words, now)
        level = logging.WARNING if changed else logging.DEBUG
        log.log(level, "cannot list apps", extra={"account": account.name, "error": words})

    async def _take_in(self, listing: Listing) -> None:
        account = self._account
        now = self._tools.now()
        if account.reachable is False:
            log.info("the provider answers again", extra={"account": account.name})
        account.reachable = True
        for reason in _FAILURES:
            account.tell(reason, None, now)
        problems = " ".join(listing.problems) or "The listing is not complete."
        account.tell(Reason.INCOMPLETE_LISTING, None if listing.complete else problems, now)
        await self._let_go()
        await asyncio.sleep(0)
        records = self._all()
        known = [app for app in records.values() if app.identity.account == account.name]
        found = await self._found(listing, known)
        # Pure, on values that never change, and up to 0.1 s of work with 10,000 apps: beside the loop.
        outcome = await asyncio.to_thread(
            plan,
            found,
            known,
            taken_names=records.keys(),
            absences=account.absences,
            complete=listing.complete,
            provider=account.config.provider,
            now=now,
        )
        account.absences = outcome.absences
        vanishing = "Many apps vanished at once; none is removed before an hour has passed."
        account.tell(Reason.MASS_VANISHING, vanishing if outcome.mass_vanishing else None, now)
        await self._carry_out(outcome, listing, known)
        await self._learning.learn(found, outcome, listing)
        if listing.complete:
            account.last_complete_listing = listing.sent_at
        account.apps = sum(app.identity.account == account.name for app in self._all().values())
        account.listed_once = True

    def _all(self) -> dict[str, App]:
        return self._tools.records.newest()

    async def _found(self, listing: Listing, known: list[App]) -> list[Found]:
        """What the account looks after, and what it has on record although it no longer does."""
        slices = Slices()
        kept = {app.identity for app in known if _needed(app)}
        found: list[Found] = []
        for listed in listing.apps:
            await slices.turn()
            item = _as_found(self._account.name, listed)
            if self._account.config.covers(item.app_name) or item.identity in kept:
                found.append(item)
        return found

    async def _let_go(self) -> None:
        """Remove what the account no longer looks after, unless the record is still needed."""
        for app in self._all().values():
            if app.identity.account != self._account.name:
                continue
            if not self._account.config.covers(app.app_name) and not _needed(app):
                log.info("let go", extra={"app": app.name, "account": self._account.name})
                await self._let_go_of(app)

    async def _let_go_of(self, app: App) -> None:
        current: App | None = app
        for _ in range(REMOVE_TRIES):
            if current is None or _needed(current):
                return
            try:
                await self._tools.records.remove(current)
            except Conflict:  # its policy, too, is just being renewed
                await asyncio.sleep(0)
                current = self._tools.records.get(app.name)
            else:
                return

    async def _carry_out(self, outcome: Plan, listing: Listing, known: list[App]) -> None:
        records = {app.name: app for app in known}
        for name in (*outcome.replaced, *outcome.remove):
            log.info("removed", extra={"app": name, "account": self._account.name})
            await self._remove(records[name])
        async with asyncio.TaskGroup() as group:
            places = asyncio.Semaphore(WRITES_AT_A_TIME)
            for app in outcome.create:
                group.create_task(self._create(app, listing, places))
            for name, change in outcome.refresh:
                if self._may_take(records[name], listing):
                    group.create_task(self._refresh(records[name], change, places))

    async def _create(self, app: App, listing: Listing, places: asyncio.Semaphore) -> None:
        async with places:
            record = self._of_new(app)
            created = await self._quietly(self._tools.records.create(record))
        if created is not None:
            log.info(
                "discovered",
                extra={"app": app.name, "account": self._account.name, "phase": app.phase},
            )
            self._tools.knowledge.observe(created, self._tools.now())
            self._tools.knowledge.of(app.name).remote_at = listing.sent_at
        self._touch(app.name)

    async def _refresh(self, app: App, change: AppChange, places: asyncio.Semaphore) -> None:
        async with places:
            await self._quietly(self._tools.records.write(app, change))

    async def _remove(self, app: App) -> None:
        try:
            await self._tools.records.remove(app)
        except Conflict:
            return  # the next complete listing says it again

    @staticmethod
    async def _quietly(write: Awaitable[App]) -> App | None:
        """A conflict is no fault here: the next listing compares again."""
        try:
            return await write
        except (Conflict, UnknownApp):
            return None
        except RegistryError as error:
            log.warning("registry", extra={"error": str(error)})
            return None

    def _may_take(self, app: App, listing: Listing) -> bool:
        """Whether the listing is newer than what our own operation did to the app."""
        return app.phase is not Phase.DRAINING and is_news(app, listing)

    async def forget(self) -> int:
        """Forget what a listing brings back without loss, and take one in; returns how many.

        A record is only begun anew, or removed, when the provider has answered: visitors are
        routed by it all the while. Raises ProviderError where it has not.
        """
        listing = await self._list()
        known = [app for app in self._all().values() if app.identity.account == self._account.name]
        found = {item.identity: item for item in await self._found(listing, known)}
        forgotten = 0
        for app in known:
            if _needed(app):
                continue
            item = found.get(app.identity)
            if item is not None:
                self._tools.knowledge.of(app.name).unmanaged = item.unmanaged
                await self._quietly(self._tools.records.write(app, self._anew(item)))
            elif listing.complete:
                await self._remove(app)
            else:
                continue
            forgotten += 1
        await self._take_in(listing)
        return forgotten

    def _anew(self, item: Found) -> AppChange:
        """What a discovery would say of the app, in place of what was learnt since."""
        now = self._tools.now()
        return AppChange(
            formation=(),
            deployment=item.deployment,
            last_activity=Activity(now, Reason.DISCOVERED),
            retry=Retry(),
            usual_boot=None,
            conditions=(),
        )


def _needed(app: App) -> bool:
    """Whether the record holds what a new discovery would not bring back."""
    if app.open_operation is not None or put_to_sleep_by_us(app) or owes_restore(app):
        return True
    if app.snapshot is not None and app.snapshot.autoscalers:
        return True
    return app.phase not in {Phase.AWAKE, Phase.UNMANAGED, Phase.GONE}


def _as_found(account: str, item: RemoteApp) -> Found:
    return Found(
        identity=Identity(account, item.region, item.app_id),
        app_name=item.app_name,
        state=item.state,
        url=item.url,
        hosts=item.hosts,
        deployment=item.deployment,
        unmanaged=item.unmanaged,
    )
