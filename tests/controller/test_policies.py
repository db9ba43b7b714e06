"""What the records show of their policies."""

from dataclasses import replace
from datetime import timedelta

from controller.account import Account
from controller.knowledge import Knowledge
from controller.policies import Policies
from paastis.app import App
from paastis.config import Config
from paastis.reasons import Reason
from tests.paastis.factories import NOW, an_app


def policies(account: Account | None = None) -> Policies:
    accounts = {} if account is None else {account.name: account}
    return Policies(Config(accounts=()), accounts, Knowledge(drain_time=timedelta(seconds=5)))


def conditions(apps: dict[str, App]) -> dict[str, list[str]]:
    """The messages about claimed hosts that would be written."""
    found: dict[str, list[str]] = {}
    for app, change in policies().changes(apps, NOW):
        told = [row.message for row in change.get("conditions", ()) if row.type == "HostClaimed"]
        if told:
            found[app.name] = told
    return found


def test_app_whose_name_an_older_app_has_is_told_so() -> None:
    old = replace(an_app(), name="old", app_name="shop")
    young = replace(old, name="young", created_at=old.created_at + timedelta(days=1))

    told = conditions({"old": old, "young": young})

    assert told == {"young": ["shop belongs to old, which is older."]}


def test_claim_that_nobody_else_has_any_more_is_cleared() -> None:
    old = replace(an_app(), name="old", app_name="shop")
    young = replace(old, name="young", created_at=old.created_at + timedelta(days=1))
    shown = policies()
    (told,) = [
        change for app, change in shown.changes({"old": old, "young": young}, NOW) if app is young
    ]
    young = replace(young, conditions=told["conditions"])

    ((_, change),) = shown.changes({"young": young}, NOW)

    (condition,) = [row for row in change["conditions"] if row.type == Reason.HOST_CLAIMED]
    assert not condition.status
