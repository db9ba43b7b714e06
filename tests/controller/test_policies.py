"""What the records show of their policies."""

from dataclasses import replace
from datetime import timedelta

from controller.policies import Policies
from paastis.app import App, AppChange, Overrides
from paastis.config import Config
from paastis.reasons import Reason
from tests.paastis.factories import NOW, an_app


def policies() -> Policies:
    return Policies(Config(accounts=()), {})


async def changes(shown: Policies, apps: dict[str, App]) -> list[tuple[App, AppChange]]:
    """What would be written."""
    await shown.renew(apps)
    found = [(app, shown.change_of(app, NOW)) for app in apps.values()]
    return [(app, change) for app, change in found if change is not None]


async def conditions(apps: dict[str, App]) -> dict[str, list[str]]:
    """The messages about claimed hosts that would be written."""
    found: dict[str, list[str]] = {}
    for app, change in await changes(policies(), apps):
        told = [row.message for row in change.get("conditions", ()) if row.type == "HostClaimed"]
        if told:
            found[app.name] = told
    return found


async def test_app_whose_name_an_older_app_has_is_told_so() -> None:
    old = replace(an_app(), name="old", app_name="shop")
    young = replace(old, name="young", created_at=old.created_at + timedelta(days=1))

    told = await conditions({"old": old, "young": young})

    assert told == {"young": ["shop belongs to old, which is older."]}


async def test_claim_that_nobody_else_has_any_more_is_cleared() -> None:
    old = replace(an_app(), name="old", app_name="shop")
    young = replace(old, name="young", created_at=old.created_at + timedelta(days=1))
    shown = policies()
    (told,) = [
        change for app, change in await changes(shown, {"old": old, "young": young}) if app is young
    ]
    young = replace(young, conditions=told["conditions"])

    ((_, change),) = await changes(shown, {"young": young})

    (condition,) = [row for row in change["conditions"] if row.type == Reason.HOST_CLAIMED]
    assert not condition.status


async def test_override_that_cannot_be_used_is_told_until_it_is_mended() -> None:
    app = replace(an_app(), overrides=Overrides(problems=("spec.schedule: no such time zone.",)))
    shown = policies()
    ((_, change),) = await changes(shown, {app.name: app})
    (condition,) = [row for row in change["conditions"] if row.type == Reason.OVERRIDE_DROPPED]
    assert (condition.status, condition.message) == (True, "spec.schedule: no such time zone.")

    mended = replace(replace(app, **change), overrides=Overrides())

    assert shown.is_stale(mended)
    ((_, change),) = await changes(shown, {app.name: mended})
    (condition,) = [row for row in change["conditions"] if row.type == Reason.OVERRIDE_DROPPED]
    assert not condition.status
