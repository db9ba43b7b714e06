"""PaastisAccounts and their Secrets: what they configure, and the status they are told in."""

from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest

from paastis.app import Condition
from paastis.config.accounts import AccountConfig
from paastis.errors import ConfigError
from paastis.policy import Mode
from paastis.reasons import Reason
from paastis.resources.account import (
    account_from,
    account_status,
    credentials_from,
    secret_name_of,
)
from paastis.secret import Secret
from tests.paastis.factories import MINUTE, NOW
from tests.paastis.resources.merge import merged

TOKEN = {"api_token": Secret("tk-us-123")}


def an_account(name: str = "main", /, **spec: Any) -> dict[str, Any]:
    """A resource of that name with that spec, at Scalingo unless it says otherwise."""
    return {
        "metadata": {"name": name, "generation": 5},
        "spec": {"provider": "scalingo", **spec},
    }


def a_secret(**data: str) -> dict[str, Any]:
    """A Secret as the API server shows it."""
    encoded = {key: b64encode(text.encode()).decode() for key, text in data.items()}
    return {"metadata": {"name": "scalingo-token"}, "data": encoded}


def test_account_observes_unless_it_says_otherwise() -> None:
    assert account_from(an_account(), TOKEN, insecure=False) == AccountConfig(
        name="main",
        provider="scalingo",
        mode=Mode.OBSERVE,
        credentials=TOKEN,
        source="PaastisAccount main",
    )


def test_everything_an_account_can_say_is_heard() -> None:
    resource = an_account(
        mode="Manage",
        regions=["osc-fr1", "osc-secnum-fr1"],
        organisations=["acme"],
        credentialsSecretRef={"name": "token"},
        ignoredApps=["prod-.*"],
        onlyApps=["review-.*"],
        discoveryInterval="5m",
        apiUrl="https://api.example.com/",
        authUrl="http://localhost:8080",
        operationTimeout="90s",
        callsPerMinute=20,
        maxIdleTime="1h",
    )
    assert account_from(resource, TOKEN, insecure=False) == AccountConfig(
        name="main",
        provider="scalingo",
        mode=Mode.MANAGE,
        regions=("osc-fr1", "osc-secnum-fr1"),
        organisations=("acme",),
        credentials=TOKEN,
        urls={"api": "https://api.example.com", "auth": "http://localhost:8080"},
        operation_timeout=timedelta(seconds=90),
        calls_per_minute=20,
        max_idle_time=timedelta(hours=1),
        discovery_interval=timedelta(minutes=5),
        ignored_apps=("prod-.*",),
        only_apps=("review-.*",),
        source="PaastisAccount main",
    )


@pytest.mark.parametrize(
    ("resource", "credentials", "said"),
    [
        (an_account(provider="scalingoo"), TOKEN, "did you mean 'scalingo'"),
        (an_account(provider=None), TOKEN, "an account needs its provider"),
        (an_account(provider="heroku"), TOKEN, "'heroku' is not available in this version"),
        (an_account(), {}, "expected a Secret with key apiToken"),
        (an_account("main.x"), TOKEN, "metadata.name: 'main.x' is not an account name"),
        (an_account(apiUrl="http://api.example.com"), TOKEN, "would send the token unencrypted"),
        (an_account(onlyApps=["(a"]), TOKEN, "spec.onlyApps[0]"),
        (an_account(mode="Mange"), TOKEN, "spec.mode"),
        (an_account(discoveryInterval="5s"), TOKEN, "expected 10s to 1d"),
        (an_account(callsPerMinute=0), TOKEN, "spec.callsPerMinute"),
    ],
)
def test_account_with_a_mistake_is_refused_with_a_sentence(
    resource: dict[str, Any], credentials: dict[str, Secret], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        account_from(resource, credentials, insecure=False)
    (problem,) = caught.value.problems
    assert said in problem


def test_http_is_allowed_where_it_is_asked_for() -> None:
    resource = an_account(apiUrl="http://api.example.com")
    account = account_from(resource, TOKEN, insecure=True)
    assert account.urls == {"api": "http://api.example.com"}


def test_secret_of_an_account_is_named_by_its_spec() -> None:
    assert secret_name_of(an_account(credentialsSecretRef={"name": "token"})) == "token"
    assert secret_name_of(an_account()) is None
    assert secret_name_of({}) is None


def test_token_of_a_secret_may_end_with_a_line_break() -> None:
    assert credentials_from(a_secret(apiToken="tk-us-123\n")) == TOKEN


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (a_secret(), "nothing given"),
        (a_secret(apiToken=""), "nothing given"),
        (a_secret(token="tk-us-123"), "nothing given"),
        (a_secret(apiToken="tk us 123"), "not shown"),
        ({"metadata": {"name": "x"}, "data": {"apiToken": "dGstdXM$"}}, "key apiToken"),
        ({"metadata": {"name": "x"}, "data": {"apiToken": "/w=="}}, "is not text"),
    ],
)
def test_secret_without_a_token_is_refused_and_never_shown(
    secret: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        credentials_from(secret)
    assert "us" not in str(caught.value)
    assert "tk" not in str(caught.value)
    assert "dGst" not in str(caught.value)


def a_status(resource: dict[str, Any], **known: Any) -> dict[str, Any]:
    """The patch for an account of which nothing is known but that."""
    nothing: dict[str, Any] = {
        "reachable": None,
        "apps": None,
        "budget_left": None,
        "last_complete_listing": None,
        "conditions": (),
        "now": NOW,
    }
    return account_status(resource, **(nothing | known))


def told(patch: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What each condition says."""
    return {said["type"]: (said["status"], said["reason"]) for said in patch["conditions"]}


def a_problem(reason: Reason, status: bool = True) -> Condition:
    """A condition as the controller keeps it for an account."""
    return Condition(reason, status, reason, "It says why.", NOW)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, {"ProviderReachable": ("False", "NotTried"), "Ready": ("False", "NotTried")}),
        (
            {"reachable": True},
            {"ProviderReachable": ("True", "Reachable"), "Ready": ("True", "Reachable")},
        ),
        (
            {"reachable": False, "conditions": (a_problem(Reason.CREDENTIALS_REFUSED),)},
            {
                "ProviderReachable": ("False", "CredentialsRefused"),
                "Ready": ("False", "CredentialsRefused"),
                "CredentialsRefused": ("True", "CredentialsRefused"),
            },
        ),
        (
            {"reachable": True, "conditions": (a_problem(Reason.UNREACHABLE, status=False),)},
            {
                "ProviderReachable": ("True", "Reachable"),
                "Ready": ("True", "Reachable"),
                "ProviderUnreachable": ("False", "ProviderUnreachable"),
            },
        ),
        (
            {"problem": (Reason.SECRET_FORBIDDEN, "It may not be read.")},
            {
                "ProviderReachable": ("False", "NotTried"),
                "Ready": ("False", "SecretForbidden"),
                "SecretForbidden": ("True", "SecretForbidden"),
            },
        ),
    ],
)
def test_status_says_how_the_account_is_doing(
    known: dict[str, Any], expected: dict[str, tuple[str, str]]
) -> None:
    assert told(a_status(an_account(), **known)) == expected


def test_status_that_is_there_already_is_no_news() -> None:
    resource = an_account()
    known = {
        "reachable": True,
        "apps": 12,
        "budget_left": 40,
        "last_complete_listing": NOW,
        "conditions": (a_problem(Reason.BUDGET_SHORT),),
    }
    resource["status"] = merged({}, a_status(resource, **known))
    assert a_status(resource, **known, now=NOW + MINUTE) == {}
    patch = a_status(resource, **known | {"reachable": False}, now=NOW + MINUTE)
    assert {said["type"]: said["lastTransitionTime"] for said in patch["conditions"]} == {
        "ProviderReachable": "2026-03-04T12:01:00Z",
        "Ready": "2026-03-04T12:01:00Z",
        "BudgetShort": "2026-03-04T12:00:00Z",
    }


def test_what_is_not_known_any_more_is_taken_away() -> None:
    resource = an_account()
    resource["status"] = merged({}, a_status(resource, reachable=True, apps=12))
    patch = a_status(resource, problem=(Reason.DUPLICATE, "Another account has this token."))
    assert patch["reachable"] is patch["apps"] is None
    assert "apps" not in merged(resource["status"], patch)
