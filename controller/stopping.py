"""Putting an app to sleep.

The order of steps is the protocol that keeps a visitor from losing an app under a request. A stop
is decided, announced (`Draining`), agreed to by every proxy, looked at once more, and written with
the version of the announcement. Whoever wrote to the record meanwhile, a visitor's proxy or a
person, makes that write a conflict, and the drain is called off. The operation and the snapshot are
on record before the call is sent.
"""

import logging
from dataclasses import replace
from datetime import timedelta

from controller.account import Account
from controller.looking import FAILED_LOOK_PAUSE, Looking
from controller.sending import Sending
from controller.settling import entered, settled, snapshot_of
from controller.tools import Tools, may_stop, moved, remote_of
from paastis.app import Activity, App, AppChange, Operation, OperationKind, Phase, web_amount
from paastis.decide import Decision
from paastis.errors import Conflict, ProviderError
from paastis.providers.port import Inspection, Urgency
from paastis.reasons import Reason

log = logging.getLogger(__name__)

AGREEMENT_LOOK = timedelta(milliseconds=250)
"""How soon the heartbeats are read again while a stop waits for them."""

SLOW_AGREEMENT_LOOK = timedelta(seconds=2)
"""The same where a proxy is silent or has not agreed for long: as often as heartbeats come."""

AGREEMENT_EXPECTED = timedelta(seconds=15)
"""Proxies that have not agreed that long after the announcement are named in a condition."""

VETO_PAUSE = timedelta(minutes=1)
"""How long a before-stop hook's veto holds."""


class Stopping:
    """From the announcement of a stop to its call."""

    def __init__(self, tools: Tools, looking: Looking, sending: Sending) -> None:
        self._tools = tools
        self._records = tools.records
        self._knowledge = tools.knowledge
        self._now = tools.now
        self._looking = looking
        self._sending = sending

    async def begin_drain(self, app: App, decision: Decision) -> None:
        """Announce a stop. Everybody may object."""
        change = entered(app, Phase.DRAINING, decision.reason, self._now())
        written = await self._records.write(app, change)
        self._knowledge.of(app.name).drain_version = written.version
        log.info("draining", extra={"app": app.name, "reason": decision.reason})

    async def cancel_drain(self, app: App, reason: Reason, extra: AppChange | None = None) -> None:
        """Call an announced stop off. Raises `Conflict`; it is then decided again."""
        change = entered(app, Phase.AWAKE, reason, self._now())
        change.update(extra or {})
        await self._records.write(app, change)
        self._knowledge.of(app.name).drain_version = None
        log.info("drain cancelled", extra={"app": app.name, "reason": reason})

    async def _agreed(self, account: Account, app: App, drain_version: int) -> bool:
        """Whether every proxy stands at or past the announcement, objections written."""
        waiting = [
            proxy
            for proxy in await self._tools.registry.proxies()
            if proxy.silent or proxy.position < drain_version
        ]
        if not waiting:
            account.agreed(app.name, self._now())
            return True
        silent = sorted(proxy.proxy for proxy in waiting if proxy.silent)
        behind = sorted(proxy.proxy for proxy in waiting if not proxy.silent)
        since = app.phase_since or self._now()
        late = self._now() - since > AGREEMENT_EXPECTED
        if silent or late:
            words = [f"{proxy} has fallen silent" for proxy in silent]
            words += [f"{proxy} has not agreed" for proxy in behind]
            account.waits(app.name, f"Stops wait for proxies: {', '.join(words)}.", self._now())
        self._looking.pause(app, SLOW_AGREEMENT_LOOK if silent or late else AGREEMENT_LOOK)
        return False

    async def stop(self, app: App, account: Account, decision: Decision) -> None:
        """End an announced drain with the stop, unless anything speaks against it."""
        drain_version = self._knowledge.of(app.name).drain_version
        if drain_version is None or drain_version != app.version:
            # Not announced by us, or somebody wrote to the record since.
            await self.cancel_drain(app, Reason.IN_USE)
            return
        if not await self._agreed(account, app, drain_version):
            return
        if not account.slots.claim(app.name, OperationKind.STOP):
            return
        try:
            await self._stop(app, account, decision)
        except ProviderError as error:
            self._looking.pause(app, FAILED_LOOK_PAUSE)
            await self.cancel_drain(app, Reason.REMOTE_UNKNOWN)
            log.warning("not stopped", extra={"app": app.name, "error": str(error)})
        except Conflict:
            # Somebody used or changed it after the announcement.
            current = self._records.get(app.name)
            if current is not None and current.phase is Phase.DRAINING:
                await self.cancel_drain(current, Reason.IN_USE)

    async def _stop(self, app: App, account: Account, decision: Decision) -> None:
        if await self._used_directly(app, account):
            return
        if not await self._before_stop(app, decision):
            return
        inspection = await self._looking.inspect(
            app, account, urgency=Urgency.STOP, autoscaled=True
        )
        now = self._now()
        outcome = settled(app, inspection, now, wanted=False)
        if outcome.by_hand is not None or outcome.change.get("phase") is not None:
            await self._call_off(app, inspection)
            return
        if inspection.deploying or not web_amount(inspection.formation):
            await self.cancel_drain(app, Reason.DEPLOYING)
            return
        if not may_stop(self._tools, app):
            await self.cancel_drain(app, Reason.PAUSED)
            return
        operation = Operation(OperationKind.STOP, self._tools.new_id(), sent_at=now)
        change = entered(app, Phase.STOPPING, decision.reason, now)
        change["operation"] = operation
        change["formation"] = inspection.formation
        change["snapshot"] = snapshot_of(app, inspection, now)
        stopping = await self._records.write(app, change)
        self._knowledge.of(app.name).drain_version = None
        moved(self._tools, app, stopping)
        await self._sending.send(
            stopping, account, lambda: account.provider.stop(remote_of(app), inspection.formation)
        )

    async def _call_off(self, app: App, inspection: Inspection) -> None:
        """What the last look shows speaks against the stop."""
        settled_app = await self._looking.settle(app, inspection)
        if settled_app.phase is Phase.DRAINING:
            await self.cancel_drain(settled_app, Reason.SCALED_BY_HAND)
        else:
            self._knowledge.of(app.name).drain_version = None

    async def _used_directly(self, app: App, account: Account) -> bool:
        """Requests that reached the app without us count as use, where the provider tells."""
        if not account.provider.limits.reports_traffic:
            return False
        if app.policy.sources.get("ignore_access", "default") != "default":
            # What a rule ignores is in the provider's count as well.
            return False
        situation = self._knowledge.situation(app, self._records.all())
        times = [app.created_at, situation.last_use]
        times.append(app.last_activity.time if app.last_activity else None)
        since = max(time for time in times if time is not None)
        seen = await account.provider.direct_traffic(remote_of(app), since)
        if seen is None or seen <= since:
            return False
        activity = Activity(min(seen, self._now()), Reason.DIRECT_TRAFFIC)
        await self.cancel_drain(app, Reason.DIRECT_TRAFFIC, AppChange(last_activity=activity))
        return True

    async def _before_stop(self, app: App, decision: Decision) -> bool:
        command = self._tools.hooks_of(app).before_stop
        if command is None:
            return True
        outcome = await self._tools.hooks.run(command, "before-stop", app, decision.reason)
        if not outcome.veto:
            return True
        retry = replace(app.retry, not_before=self._now() + VETO_PAUSE)
        await self.cancel_drain(app, Reason.HOOK_VETO, AppChange(retry=retry))
        return False
