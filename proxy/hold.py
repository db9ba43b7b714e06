"""Waiting for an app, for whoever can await."""

import asyncio
from collections.abc import Callable

from paastis.reasons import Reason
from proxy.watch import Watch

Outcome = asyncio.Future[Reason | None]
"""None: the app is worth a try. Else why it is not."""


def enter(
    watch: Watch, name: str, outcome: Outcome, *, deadline: float, beyond: int | None = None
) -> Callable[[], None]:
    """Wait until `outcome` is settled; call the result to leave. Raises `proxy.waker.Full`.

    `beyond`: see `Waker.wait`.
    """

    def settle(reason: Reason | None) -> None:
        if not outcome.done():
            outcome.set_result(reason)

    leave = watch.waker.wait(
        name,
        deadline,
        lambda: settle(None),
        settle,
        now=asyncio.get_running_loop().time(),
        beyond=beyond,
    )
    watch.poke()
    return leave


async def hold(
    watch: Watch, name: str, *, deadline: float, beyond: int | None = None
) -> Reason | None:
    """Return when the app is worth a try (None) or will not be (why). Raises `Full`."""
    outcome: Outcome = asyncio.get_running_loop().create_future()
    leave = enter(watch, name, outcome, deadline=deadline, beyond=beyond)
    try:
        return await outcome
    finally:
        leave()
