"""Tokens stay secret, whatever goes wrong and however much is logged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.end_to_end.programs import QUICK, TOKEN, app

if TYPE_CHECKING:
    from tests.end_to_end.conftest import NewWorld

SYSTEM_TOKEN = "of-the-system-api"
JWT = "eyJ"
"""How the JWTs of the provider begin: '{"' in base64."""


async def test_no_secret_appears_in_logs_metrics_answers_or_files(new_world: NewWorld) -> None:
    async with new_world(apps=[app("shop"), app("old", status="stopped")]) as world:
        paastis = await world.run(
            **{**QUICK, "LOGGING_LEVEL": "debug"},
            ROUTING_SYSTEM_API_ENABLED="true",
            ROUTING_SYSTEM_API_TOKEN=SYSTEM_TOKEN,
        )
        await world.sim.fault("**", times=2, expire_token=True)
        await world.sim.fault("POST /v1/apps/*/scale", times=1, answer={"status": 500})
        private = await paastis.visit("old", "/echo?password=hunter2")
        assert private.status in {200, 503}
        await paastis.reaches("shop", "Asleep", within=30)
        explained = await paastis.cli("explain", "shop")
        told = {
            "log": paastis.output,
            "metrics": await paastis.metrics(),
            "apps": json.dumps(await paastis.records()),
            "accounts": json.dumps(await paastis.accounts()),
            "explain": explained.stdout + explained.stderr,
        }
        for file in world.directory.glob("paastis.db*"):
            if file.is_file():
                told[file.name] = file.read_bytes().decode("latin-1")

        for where, text in told.items():
            for secret in (TOKEN, JWT, SYSTEM_TOKEN, "hunter2"):
                assert secret not in text, where
        assert len(told["log"]) > 1000
