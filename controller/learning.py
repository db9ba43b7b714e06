"""What a listing tells that is not for the records: whether they agree, whom to look at, whom to adopt."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from controller.account import Account
from controller.knowledge import FOUND_BY_INSPECTION
from controller.settling import settled
from controller.slices import Slices
from controller.tools import Tools, moved
from paastis.app import App, Observation, Phase
from paastis.errors import RegistryError
from paastis.plan import Found, Plan
from paastis.policy import Power
from paastis.providers.port import Inspection, Listing
from paastis.reasons import Reason

DEPLOYMENT_LOOK = timedelta(minutes=1)
"""How often an app that was seen being deployed is looked at: a deployment that fails leaves no
trace in a listing."""

ADOPTED_BY_LISTING = frozenset({Reason.ACCOUNT_MISSING, Reason.POWER_UNMANAGED, Reason.DISCOVERED})
"""Why apps were left alone that a listing may adopt, like new ones: to look at each would cost the
account's calls of hours where there are thousands. Other reasons are the provider's own, and a look
has to show that they are over."""

WRITES_AT_A_TIME = 50


class Learning:
    """Of one account."""

    def __init__(self, tools: Tools, account: Account, *, touch: Callable[[str], None]) -> None:
        self._tools = tools
        self._account = account
        self._touch = touch

    async def learn(self, found: list[Found], outcome: Plan, listing: Listing) -> None:
        """Take in a listing whose difference to the records was written."""
        slices = Slices()
        names = {app.identity: app.name for app in self._tools.records.newest().values()}
        adopted: list[tuple[App, Found]] = []
        for item in found:
            await slices.turn()
            name = names.get(item.identity)
            app = self._tools.records.get(name) if name is not None else None
            if app is not None and is_news(app, listing):
                self._learn_one(app, item, outcome, listing)
                if self._may_adopt(app, item):
                    adopted.append((app, item))
        for name in outcome.inspect:
            app = self._tools.records.get(name)
            if app is not None and self._may_look(app, listing):
                self._tools.knowledge.of(name).look_wanted = True
                self._touch(name)
        async with asyncio.TaskGroup() as group:
            places = asyncio.Semaphore(WRITES_AT_A_TIME)
            for app, item in adopted:
                group.create_task(self._adopt(app, item, listing, places))

    def _learn_one(self, app: App, item: Found, outcome: Plan, listing: Listing) -> None:
        known = self._tools.knowledge.of(app.name)
        before = (known.unmanaged, known.look_wanted, self._is_fresh(known.remote_at))
        if item.unmanaged is not None or known.unmanaged not in FOUND_BY_INSPECTION:
            known.unmanaged = item.unmanaged
        if known.unmanaged in FOUND_BY_INSPECTION and item.deployment != app.deployment:
            known.unmanaged = None
        if app.name in outcome.agree:
            known.remote_at = max(listing.sent_at, known.remote_at or listing.sent_at)
        if known.deploying and self._may_look(app, listing):
            looked_at = known.looked_at or listing.sent_at
            known.look_wanted |= listing.sent_at - looked_at >= DEPLOYMENT_LOOK
        if before != (known.unmanaged, known.look_wanted, self._is_fresh(known.remote_at)):
            self._touch(app.name)

    def _may_adopt(self, app: App, item: Found) -> bool:
        return (
            app.phase is Phase.UNMANAGED
            and app.phase_reason in ADOPTED_BY_LISTING
            and item.state in {Observation.RUNNING, Observation.STOPPED}
            and self._tools.knowledge.of(app.name).unmanaged is None
            and self._tools.in_force(app).policy.power is not Power.UNMANAGED
        )

    async def _adopt(
        self, app: App, item: Found, listing: Listing, places: asyncio.Semaphore
    ) -> None:
        seen = Inspection(item.state, (), listing.sent_at, deployment=item.deployment)
        change = settled(app, seen, self._tools.now(), wanted=False).change
        async with places:
            try:
                written = await self._tools.records.write(app, change)
            except RegistryError:
                self._touch(app.name)  # then it is looked at, or the next listing says it again
                return
        known = self._tools.knowledge.of(app.name)
        known.remote_at = max(listing.sent_at, known.remote_at or listing.sent_at)
        moved(self._tools, app, written)
        self._touch(app.name)

    def _is_fresh(self, seen: datetime | None) -> bool:
        fresh_for = self._tools.knowledge.fresh_for[self._account.name]
        return seen is not None and self._tools.now() - seen <= fresh_for

    def _may_look(self, app: App, listing: Listing) -> bool:
        looked_at = self._tools.knowledge.of(app.name).looked_at
        return is_news(app, listing) and (looked_at is None or looked_at < listing.sent_at)


def is_news(app: App, listing: Listing) -> bool:
    """False: the listing was asked for before our own call had taken effect."""
    operation = app.operation
    return operation is None or (
        operation.ended_at is not None and operation.ended_at <= listing.sent_at
    )
