"""What people say and do beats everything else: on resources, at the provider, with accounts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.cluster.installation import Installation, account_manifests, installed
from tests.cluster.resources import condition
from tests.end_to_end.programs import Json, Simulator, app, throughout, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.access import Cluster

SEVERAL_IDLE_TIMES = 9.0
"""Seconds; the idle time is 3 s, as in QUICK, except for `long-…`."""

VALUES: Json = {
    "rules": {"long": {"pattern": "long-.*", "maxIdleTime": "1h"}},
    "credentialSecrets": ["watched-token", "guest-token"],
}
RUNNING, STOPPED = {"web": (1, "M")}, {"web": (0, "M")}
WHOLE = {"web": (2, "L"), "worker": (3, "S"), "clock": (0, "S")}


def with_formation(name: str, formation: dict[str, tuple[int, str]]) -> Json:
    given = {kind: {"amount": n, "size": size} for kind, (n, size) in formation.items()}
    return app(name, formation=given)


async def order(paastis: Installation, name: str, **spec: object) -> None:
    await paastis.patch(f"paastisapps/{name}", {"spec": spec})


async def stays(paastis: Installation, name: str, phase: str, reason: str | None = None) -> None:
    async def as_it_is() -> bool:
        status = (await paastis.app(name))["status"]
        return status["phase"] == phase and reason in {None, status["reason"]}

    await throughout(as_it_is, what=f"{name} stays {phase}", seconds=SEVERAL_IDLE_TIMES)


async def runs(sim: Simulator, name: str, formation: dict[str, tuple[int, str]]) -> None:
    async def as_wanted() -> bool:
        truth = await sim.app(name)
        settled = truth["status"] == ("running" if formation["web"][0] else "stopped")
        return settled and await sim.formation(name) == formation

    await until(as_wanted, what=f"{name} has the formation {formation}")


# --- orders on a resource


async def always_on_starts_an_app_at_once_and_keeps_it_awake(paastis: Installation) -> None:
    await paastis.reaches("on", "Asleep")
    await order(paastis, "on", power="AlwaysOn")
    await paastis.reaches("on", "Awake")
    await stays(paastis, "on", "Awake")
    await order(paastis, "on", power=None)
    await paastis.reaches("on", "Asleep")


async def always_off_stops_an_app_at_once_and_no_visitor_wakes_it(paastis: Installation) -> None:
    await order(paastis, "long-off", power="AlwaysOff")
    await paastis.reaches("long-off", "Asleep")
    await runs(paastis.sim, "long-off", STOPPED)
    refused = await paastis.proxy.visit("long-off")
    assert refused.status == 503
    assert "AlwaysOff" in refused.body
    await order(paastis, "long-off", power="Auto")

    async def served() -> bool:
        return (await paastis.proxy.visit("long-off")).status == 200

    await until(served, what="visitors wake it again")


async def unmanaged_app_is_left_alone_and_served(paastis: Installation) -> None:
    asleep = await paastis.reaches("alone", "Asleep")
    await order(paastis, "alone", awakeUntil=later())
    await paastis.reaches("alone", "Awake")
    await order(paastis, "alone", power="Unmanaged", awakeUntil=None)
    await paastis.reaches("alone", "Unmanaged")
    calls = await paastis.sim.scales("alone")
    await stays(paastis, "alone", "Unmanaged", "PowerUnmanaged")
    assert (await paastis.proxy.visit("alone")).status == 200
    assert await paastis.sim.scales("alone") == calls
    await order(paastis, "alone", power="Auto")
    again = await paastis.reaches("alone", "Asleep")
    assert again["status"]["cycle"] > asleep["status"]["cycle"]


async def app_is_awake_until_the_time_that_was_said(paastis: Installation) -> None:
    await paastis.reaches("until", "Asleep")
    await order(paastis, "until", awakeUntil=later())
    await paastis.reaches("until", "Awake")
    await stays(paastis, "until", "Awake")
    await order(paastis, "until", awakeUntil=later(seconds=-1))
    await paastis.reaches("until", "Asleep")


async def app_is_put_to_sleep_for_one_cycle(paastis: Installation) -> None:
    awake = await paastis.reaches("long-tired", "Awake")
    await order(paastis, "long-tired", sleepFor=awake["status"]["cycle"])
    await paastis.reaches("long-tired", "Asleep")
    assert (await paastis.proxy.visit("long-tired")).status == 200
    await paastis.reaches("long-tired", "Awake")
    await stays(paastis, "long-tired", "Awake")  # the order is spent


# --- hands at the provider


async def app_stopped_by_hand_stays_so_until_a_visitor_comes(paastis: Installation) -> None:
    await paastis.sim.change("POST", "/apps/long-stopped/scale", {"web": 0})
    stopped = await paastis.reaches("long-stopped", "Asleep", within=30)
    assert stopped["status"]["reason"] == "StoppedByHand"
    assert await paastis.sim.scales("long-stopped") == []
    assert (await paastis.proxy.visit("long-stopped")).status == 200
    await runs(paastis.sim, "long-stopped", RUNNING)


async def app_started_by_hand_is_awake_for_an_idle_time(paastis: Installation) -> None:
    await paastis.reaches("started", "Asleep")
    await runs(paastis.sim, "started", STOPPED)
    await paastis.sim.change("POST", "/apps/started/scale", {"web": 1})
    started = await paastis.reaches("started", "Awake", within=30)
    assert started["status"]["reason"] == "StartedByHand"
    assert started["status"]["lastActivity"]["reason"] == "StartedByHand"
    await paastis.reaches("started", "Asleep")


async def app_scaled_by_hand_comes_back_as_it_was_scaled(paastis: Installation) -> None:
    await paastis.reaches("long-scaled", "Awake")
    await paastis.sim.change("POST", "/apps/long-scaled/scale", {"web": 2})
    await runs(paastis.sim, "long-scaled", {"web": (2, "M")})
    awake = await paastis.app("long-scaled")
    await order(paastis, "long-scaled", sleepFor=awake["status"]["cycle"])
    await paastis.reaches("long-scaled", "Asleep", within=30)
    assert (await paastis.proxy.visit("long-scaled")).status == 200
    await runs(paastis.sim, "long-scaled", {"web": (2, "M")})


async def resource_deleted_while_asleep_comes_back_with_its_snapshot(paastis: Installation) -> None:
    asleep = await paastis.reaches("deleted", "Asleep")
    await paastis.kubectl("delete", "paastisapps/deleted")

    async def restored() -> Json | None:
        found = await paastis.app("deleted")
        is_new = found and found["metadata"]["uid"] != asleep["metadata"]["uid"]
        return found if is_new and found.get("status", {}).get("phase") == "Asleep" else None

    async def served() -> bool:
        return (await paastis.proxy.visit("deleted")).status == 200

    found = await until(restored, what="it is created again")
    assert found is not None
    assert found["status"]["snapshot"] == asleep["status"]["snapshot"]
    # A proxy may have heard of the record, and not yet of its status.
    await until(served, what="a visitor wakes it")
    await runs(paastis.sim, "deleted", WHOLE)
    await paastis.are_told("deleted", "Asleep", "RecordRestored")


async def resource_deleted_while_awake_is_discovered_again(paastis: Installation) -> None:
    awake = await paastis.reaches("long-forgotten", "Awake")
    await paastis.kubectl("delete", "paastisapps/long-forgotten")

    async def again() -> bool:
        found = await paastis.app("long-forgotten")
        is_new = found and found["metadata"]["uid"] != awake["metadata"]["uid"]
        return bool(is_new) and found.get("status", {}).get("phase") == "Awake"

    await until(again, what="it is created again", within=30)
    assert await paastis.sim.scales("long-forgotten") == []


# --- accounts


async def account_does_what_its_mode_says(paastis: Installation, sim: Simulator) -> None:
    for name in ("pr-1", "pr-2"):
        await paastis.has_condition(f"paastisapps/{name}", "WouldSleep")
        await paastis.are_told(name, "WouldSleep")
        shown = await paastis.app(name)
        assert shown["status"]["phase"] == "Awake"
        managed = condition(shown, "Managed", "False")
        assert managed is not None
        assert managed["reason"] == "Observed"
    assert (await paastis.proxy.visit("found-stopped")).status == 503
    assert await sim.changing_calls() == []

    await paastis.patch("paastisaccounts/watched", {"spec": {"mode": "Manage"}})
    await asyncio.gather(*(paastis.reaches(name, "Asleep") for name in ("pr-1", "pr-2")))

    await paastis.patch("paastisaccounts/watched", {"spec": {"mode": "Pause"}})
    assert (await paastis.proxy.visit("pr-1")).status == 200
    await paastis.reaches("pr-1", "Awake")
    await stays(paastis, "pr-1", "Awake")
    assert (await paastis.app("pr-2"))["status"]["phase"] == "Asleep"

    await paastis.patch("paastisaccounts/watched", {"spec": {"mode": "WakeAll"}})
    await paastis.reaches("pr-2", "Awake")
    await stays(paastis, "pr-2", "Awake")
    assert (await paastis.app("found-stopped"))["status"]["phase"] == "Asleep"
    assert len(await sim.scales("pr-2")) == 2


async def apps_of_a_deleted_account_are_adopted_again(
    paastis: Installation, sim: Simulator
) -> None:
    await paastis.reaches("guest", "Asleep")
    await paastis.kubectl("delete", "paastisaccounts/guest")
    for name in ("guest", "long-guest"):
        left = await paastis.reaches(name, "Unmanaged")
        assert left["status"]["reason"] == "AccountMissing"
    assert (await paastis.proxy.visit("long-guest")).status == 200
    asleep = await paastis.proxy.visit("guest")
    assert asleep.status == 503
    assert "AccountMissing" in asleep.body
    assert len(await sim.scales("guest")) == 1

    await paastis.apply(*account_manifests("guest", sim))
    await paastis.reaches("long-guest", "Awake")
    await paastis.reaches("guest", "Asleep")
    assert (await paastis.proxy.visit("guest")).status == 200
    await runs(sim, "guest", WHOLE)


ORDERS = (
    always_on_starts_an_app_at_once_and_keeps_it_awake,
    always_off_stops_an_app_at_once_and_no_visitor_wakes_it,
    unmanaged_app_is_left_alone_and_served,
    app_is_awake_until_the_time_that_was_said,
    app_is_put_to_sleep_for_one_cycle,
    app_stopped_by_hand_stays_so_until_a_visitor_comes,
    app_started_by_hand_is_awake_for_an_idle_time,
    app_scaled_by_hand_comes_back_as_it_was_scaled,
    resource_deleted_while_asleep_comes_back_with_its_snapshot,
    resource_deleted_while_awake_is_discovered_again,
)
APPS = [
    *(app(name) for name in ("on", "alone", "until", "started")),
    *(app(f"long-{name}") for name in ("off", "tired", "stopped", "scaled", "forgotten")),
    with_formation("deleted", WHOLE),
]


def later(seconds: float = 3600) -> str:
    """A time from now, as people write it into a resource."""
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.timeout(180)
async def test_people_win(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """One installation, which stops nothing in its first minute; then everything side by side."""
    async with installed(cluster, namespace, tmp_path, apps=APPS, values=VALUES) as paastis:
        watched = await paastis.provider(
            "watched", apps=[app("pr-1"), app("pr-2"), app("found-stopped", status="stopped")]
        )
        guest = await paastis.provider(
            "guest", apps=[with_formation("guest", WHOLE), app("long-guest")]
        )
        await paastis.apply(
            *account_manifests("watched", watched, mode="Observe"),
            *account_manifests("guest", guest),
        )
        await paastis.reaches("on", "Asleep", within=100)

        said = await asyncio.gather(
            *(claim(paastis) for claim in ORDERS),
            account_does_what_its_mode_says(paastis, watched),
            apps_of_a_deleted_account_are_adopted_again(paastis, guest),
            return_exceptions=True,
        )
        if wrong := [one for one in said if isinstance(one, Exception)]:
            raise ExceptionGroup("not everything holds", wrong)


@pytest.mark.timeout(120)
async def test_account_says_what_is_wrong_with_its_secret_and_uses_a_new_one_without_a_restart(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    values = {"credentialSecrets": ["guest-token"], "settings": {"maxIdleTime": "15m"}}
    async with installed(
        cluster, namespace, tmp_path, apps=[app("shop")], values=values
    ) as paastis:
        before = paastis.controller.pid
        sim = await paastis.provider("guest", apps=[app("guest")])
        secret, guest = account_manifests("guest", sim, token="tk-us-wrong")
        hidden, forbidden = account_manifests("forbidden", sim)
        await paastis.reaches("shop", "Awake")

        async def says(name: str, reason: str) -> Json:
            async def ready() -> Json | None:
                found = condition(await paastis.get(f"paastisaccounts/{name}"), "Ready", "False")
                return found if found is not None and found["reason"] == reason else None

            said = await until(ready, what=f"account {name} is not ready: {reason}")
            assert said is not None
            return said

        await paastis.apply(guest, hidden, forbidden)
        assert "guest-token" in (await says("guest", "SecretMissing"))["message"]
        assert "forbidden-token" in (await says("forbidden", "SecretForbidden"))["message"]

        await paastis.apply(secret)
        await says("guest", "CredentialsRefused")
        assert "guest" not in await paastis.apps()

        await paastis.apply(account_manifests("guest", sim)[0])
        await paastis.has_condition("paastisaccounts/guest", "Ready")
        await paastis.reaches("guest", "Awake")
        row = (await paastis.kubectl("get", "pacct")).splitlines()
        assert row[0].split() == ["NAME", "PROVIDER", "MODE", "REACHABLE", "APPS", "AGE"]
        table = {line.split()[0]: line.split()[1:-1] for line in row[1:]}
        assert table["guest"] == ["scalingo", "Manage", "true", "1"]
        assert table["main"] == ["scalingo", "Manage", "true", "1"]

        # An account that looks after the same apps once more would spend the same calls.
        twin = account_manifests("twin", sim)[1]
        twin["spec"]["credentialsSecretRef"]["name"] = "guest-token"
        await paastis.apply(twin)
        assert "guest" in (await says("twin", "Duplicate"))["message"]

        await paastis.apply(secret)
        await says("guest", "CredentialsRefused")
        assert (await paastis.app("guest"))["status"]["phase"] == "Awake"
        assert paastis.controller.pid == before
        assert paastis.controller.exit_code is None
        for pod in paastis.pods:
            assert "tk-us" not in pod.output
