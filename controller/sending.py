"""Sending the call that an open operation announces.

A call whose answer is lost stays an open operation: nothing else is sent for that app until it can
no longer take effect (`controller/following.py` ends it). A call that was refused certainly had no
effect, and its operation ends at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from controller.account import Account
from controller.settling import backed_off, entered, told
from controller.tools import Tools, moved
from paastis.app import App, AppChange, Operation, OperationKind, Phase
from paastis.errors import AnswerLost, Busy, Conflict, NotFound, ProviderError
from paastis.providers.fence import Fenced, fence
from paastis.providers.port import Receipt
from paastis.reasons import Reason

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

DONE_AT_ONCE = "done"
"""The `ref` of an operation that the provider completed in its answer."""

BUSY_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 4, 8))
"""How a start waits for an app that the provider calls busy."""

WRITE_TRIES = 20
"""How often a note about an operation is written again when others write to the record."""


class Sending:
    """Calls that change apps, and what their answers mean for the record."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._records = tools.records
        self._knowledge = tools.knowledge
        self._now = tools.now

    async def send(
        self, app: App, account: Account, call: Callable[[], Awaitable[Receipt]]
    ) -> None:
        """Send the call that the open operation announces, and note how to follow it."""
        operation = app.open_operation
        if operation is None:
            return
        known = self._knowledge.of(app.name)
        known.own_operation = known.sending = operation.id
        try:
            operation, receipt = await self._call(call, app, account, operation)
        except Fenced as error:
            # Never sent: it ends like a call whose answer was lost.
            known.own_operation = None
            log.warning("not sent", extra={"app": app.name, "error": str(error)})
            return
        except AnswerLost as error:
            log.warning("answer lost", extra={"app": app.name, "error": str(error)})
            return
        except NotFound as error:
            await self.refused(app, str(error))
            known.look_wanted = True
            return
        except ProviderError as error:
            await self.refused(app, str(error))
            return
        finally:
            known.sending = None
        ref = receipt.ref if receipt.ref is not None else DONE_AT_ONCE
        await self._write_operation(app, replace(operation, ref=ref))

    async def _call(
        self,
        call: Callable[[], Awaitable[Receipt]],
        app: App,
        account: Account,
        operation: Operation,
    ) -> tuple[Operation, Receipt]:
        """Call; a start that comes while the app is busy waits for it, within bounds.

        Each further call is announced by its own time: the next controller waits for the last one.
        """
        patient = operation.kind is OperationKind.START
        for pause in (*BUSY_PAUSES, None) if patient else (None,):
            try:
                return operation, await self.fenced(account, call)
            except Busy:
                if pause is None:
                    raise
                await asyncio.sleep(pause.total_seconds())
                operation = replace(operation, sent_at=self._now())
                written = await self._write_operation(app, operation)
                if written.open_operation is None or written.open_operation.id != operation.id:
                    raise
        raise AssertionError("the last try returns or raises")

    async def fenced(self, account: Account, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Make a call that changes something only while the right to lead outlives it.

        Checked here, and by the adapter's client once more right before each request leaves: the
        call may wait for its turn, or ask for an address, in between. Raises `Fenced`.
        """
        lease = self._tools.lease
        if not lease.outlives(account.provider.limits.call_timeout):
            raise Fenced("The right to lead ends too soon for the call.")
        with fence(lease.outlives):
            return await call()

    async def _write_operation(self, app: App, operation: Operation) -> App:
        """Note something about the operation, whoever wrote to the record meanwhile."""
        current: App | None = app
        for _ in range(WRITE_TRIES):
            if current is None or current.operation is None:
                return app
            if current.operation.id != operation.id:
                return current
            try:
                return await self._records.write(current, AppChange(operation=operation))
            except Conflict:
                current = self._records.get(app.name)
        raise Conflict(f"the record of {app.name} never stays still")

    async def refused(self, app: App, words: str) -> None:
        """The provider refused the call, so it certainly had no effect."""
        announced = app.operation
        current = self._records.get(app.name)
        for _ in range(WRITE_TRIES):
            if current is None or current.open_operation is None or announced is None:
                return
            if current.open_operation.id != announced.id:
                return
            now = self._now()
            operation = replace(current.open_operation, ended_at=now)
            stop = operation.kind is OperationKind.STOP
            phase = Phase.AWAKE if stop else Phase.FAILED
            reason = Reason.STOP_FAILED if stop else Reason.START_FAILED
            change = entered(current, phase, reason, now)
            change["operation"] = operation
            change["retry"] = backed_off(current.retry, now)
            change["conditions"] = told(current.conditions, reason, words, now)
            try:
                written = await self._records.write(current, change)
            except Conflict:
                current = self._records.get(app.name)
                continue
            moved(self._tools, current, written, words)
            return
        raise Conflict(f"the record of {app.name} never stays still")

    async def fail(self, app: App, words: str) -> None:
        """A start did not get as far as its call. Visitors hear of it by the cycle that rises."""
        current = self._records.get(app.name)
        for _ in range(WRITE_TRIES):
            if current is None or current.open_operation is not None:
                return
            if (current.phase, current.cycle) != (app.phase, app.cycle):
                return
            now = self._now()
            if current.phase is Phase.FAILED:
                change = AppChange(cycle=current.cycle + 1, phase_since=now)
            else:
                change = entered(current, Phase.FAILED, Reason.START_FAILED, now)
            change["retry"] = backed_off(current.retry, now)
            change["conditions"] = told(current.conditions, Reason.START_FAILED, words, now)
            try:
                written = await self._records.write(current, change)
            except Conflict:
                current = self._records.get(app.name)
                continue
            moved(self._tools, current, written, words)
            return
