"""The worst moment for anybody to die: a wake and two sleeps are half done, and visitors come."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.cluster.visitors import Crowd, coming
from tests.end_to_end.programs import Json, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.installation import Installation
    from tests.cluster.pods import Pod

RECOVERED = 60.0
"""Seconds until everything is as it should be: a new leader, the 20 s in which a call whose answer
was lost may still take effect, and a start."""

FIRST_STOP = 100.0
"""Seconds until an idle app drains: a new leader stops nothing for 60 s."""

WHOLE = {"web": (2, "M"), "worker": (1, "S"), "clock": (0, "S")}

VALUES: Json = {
    "settings": {"drainTime": "2s"},
    "rules": {"used": {"pattern": "busy|waker", "maxIdleTime": "1h"}},
}


def whole(name: str, **more: object) -> Json:
    """An app with several process types and an autoscaler."""
    return {
        "name": name,
        "formation": {kind: {"amount": n, "size": size} for kind, (n, size) in WHOLE.items()},
        "autoscalers": [{"type": "web", "min": 2, "max": 4}],
        **more,
    }


APPS = [
    whole("busy"),
    whole("waker", status="stopped", autoscalers=[], boot_time="6s"),
    whole("sleeper", stop_time="6s"),
    whole("late"),
]
"""One that is used all the time, one that is woken, two that fall asleep; see `in_the_middle`."""


async def scaled(paastis: Installation, name: str) -> bool:
    return bool(await paastis.sim.scales(name))


async def is_whole(paastis: Installation, name: str) -> bool:
    truth = await paastis.sim.app(name)
    return (
        truth["status"] == "running"
        and await paastis.sim.formation(name) == WHOLE
        and not any(scaler["disabled"] for scaler in truth["autoscalers"])
    )


async def has_ref(paastis: Installation, name: str) -> bool:
    operation = (await paastis.app(name))["status"].get("operation", {})
    return "ref" in operation and "endedAt" not in operation


async def is_about_to_stop_late(paastis: Installation) -> None:
    """The next stop of `late` takes effect 16 s after it was sent, when others may lead already."""
    identity = (await paastis.sim.app("late"))["id"]
    await paastis.sim.fault(f"POST /v1/apps/{identity}/scale", times=1, delay="16s")


@asynccontextmanager
async def in_the_middle(paastis: Installation, *proxies: Pod) -> AsyncIterator[Crowd]:
    """Begins in the middle of a wake and of two sleeps, with visitors of everything from then on.

    `waker` boots, `sleeper` is being stopped, both with an operation that can be followed; the stop
    of `late` was sent, and has neither taken effect nor been answered. After the block everything
    becomes as it should be, with a call for each wake and each sleep, and no more.
    """
    await is_about_to_stop_late(paastis)
    await asyncio.gather(
        *(paastis.reaches(name, "Draining", within=FIRST_STOP) for name in ("sleeper", "late"))
    )
    async with coming(proxies, "busy", "waker") as crowd:
        for name in ("waker", "sleeper"):
            await until(partial(has_ref, paastis, name), what=f"{name} is followed")
        await until(partial(scaled, paastis, "late"), what="the late stop is sent")
        assert await paastis.sim.formation("late") == WHOLE
        assert (await paastis.sim.app("waker"))["status"] == "scaling"

        async with coming(proxies, "sleeper", "late") as others:
            yield crowd

            for name in ("waker", "sleeper", "late", "busy"):
                whole_again = partial(is_whole, paastis, name)
                await until(whole_again, what=f"{name} is whole", within=RECOVERED)
                await paastis.reaches(name, "Awake", within=RECOVERED)
            calls = {app["name"]: len(await paastis.sim.scales(app["name"])) for app in APPS}
            assert calls == {"busy": 0, "waker": 1, "sleeper": 2, "late": 2}
    assert crowd.put_off["busy"] == 0
    served = crowd.served + others.served
    assert served.keys() == {app["name"] for app in APPS}
