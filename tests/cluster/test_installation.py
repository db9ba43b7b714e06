"""The chart's programs do the main job: apps fall asleep, and a request wakes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.installation import Installation, installed
from tests.end_to_end.programs import Json, app, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.access import Cluster

WHOLE = {"web": (2, "M"), "worker": (1, "S"), "clock": (0, "S")}
NOTHING = {kind: (0, size) for kind, (_, size) in WHOLE.items()}

SHOP: Json = {
    "name": "shop",
    "formation": {kind: {"amount": n, "size": size} for kind, (n, size) in WHOLE.items()},
    "autoscalers": [{"type": "web", "min": 2, "max": 4}],
}

COLUMNS = ["NAME", "ACCOUNT", "PHASE", "LAST-ACCESS", "MAX-IDLE", "AGE"]
ROUND = ["Awake", "Draining", "Stopping", "Asleep", "Starting", "Awake"]


async def is_whole(paastis: Installation) -> bool:
    """Everything of the shop runs as before, and its autoscaler is at work."""
    truth = await paastis.sim.app("shop")
    return (
        truth["status"] == "running"
        and await paastis.sim.formation("shop") == WHOLE
        and [scaler["disabled"] for scaler in truth["autoscalers"]] == [False]
    )


@pytest.mark.timeout(150)
async def test_apps_of_an_installed_chart_fall_asleep_and_a_request_wakes_one(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with installed(cluster, namespace, tmp_path, apps=[SHOP, app("docs")]) as paastis:
        await paastis.reaches("shop", "Awake")
        async with paastis.watching("paastisapps") as watched:
            asleep = await paastis.reaches("shop", "Asleep", within=90)
            await paastis.reaches("docs", "Asleep")

            assert await paastis.sim.formation("shop") == NOTHING
            kept = asleep["status"]["snapshot"]["processes"]
            assert {one["type"]: (one["amount"], one["size"]) for one in kept} == WHOLE
            assert asleep["spec"]["accountRef"] == {"name": "main"}
            assert "power" not in asleep["spec"]  # nobody said anything about it

            table = (await paastis.kubectl("get", "paastisapps")).splitlines()
            assert table[0].split() == COLUMNS
            rows = {line.split()[0]: line.split() for line in table[1:]}
            assert rows.keys() == {"shop", "docs"}
            assert rows["shop"][1:3] == ["main", "Asleep"]
            assert "3s" in rows["shop"]
            wide = (await paastis.kubectl("get", "papp", "-o=wide")).splitlines()
            assert set(wide[0].split()) - set(COLUMNS) == {"URL", "RULE", "REASON"}
            assert asleep["status"]["url"] in wide[1] + wide[2]

            answer = await paastis.proxy.visit("shop")

            assert answer.status == 200
            assert '"shop"' in answer.body
            assert answer.headers["X-Paastis-State"] == "woken"
            await paastis.reaches("shop", "Awake")
            await until(lambda: is_whole(paastis), what="the shop is whole again")
            assert len(await paastis.sim.scales("shop")) == 2
            visited = await paastis.app("shop")
            assert visited["status"]["lastAccessTime"] > asleep["status"]["phaseSince"]

            async def shown() -> bool:
                return watched.phases("shop")[: len(ROUND)] == ROUND

            await until(shown, what="each phase is shown on the way")
        assert (await paastis.app("docs"))["status"]["phase"] == "Asleep"
        assert len(await paastis.sim.scales("docs")) == 1

        await paastis.are_told("shop", "Asleep", "Started")
        described = await paastis.kubectl("describe", "paastisapp/shop")
        assert "It was put to sleep (Idle)." in described
        assert "It was woken in" in described

        for pod in paastis.pods:
            assert await pod.alive()
            assert "Traceback" not in pod.output
