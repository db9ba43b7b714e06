"""Which accounts of a cluster may act, and why the others rest."""

from collections.abc import Mapping

import pytest

from controller.accounts import Acts, Rests, Verdict, Waits, holding, judge
from controller.credentials import Credentials, credentials_of
from paastis.policy import Mode
from paastis.reasons import Reason
from paastis.secret import Secret
from tests.controller.resources import Object, account, secret


def holds(token: str) -> Credentials:
    return Credentials({"api_token": Secret(token)})


def verdicts(
    *accounts: Object,
    secrets: Mapping[str, Credentials] | None = None,
    owners: Mapping[str, str] | None = None,
) -> dict[str, Verdict]:
    """Judged with a token of its own for each account, unless `secrets` has another."""
    known = {f"{one['metadata']['name']}-token": holds(one["metadata"]["name"]) for one in accounts}
    known |= secrets or {}
    first = judge(accounts, known.get, {})
    held = {
        holding(verdict.config): owners[name]
        for name, verdict in first.items()
        if isinstance(verdict, Acts) and owners is not None and name in owners
    }
    return judge(accounts, known.get, held)


def test_account_with_a_token_acts_as_its_spec_says() -> None:
    found = judge(
        [account("prod", mode="Manage", ignoredApps=["billing"])],
        {"prod-token": holds("tk")}.get,
        {},
        ignored_apps=("paastis", "billing"),
    )

    verdict = found["prod"]
    assert isinstance(verdict, Acts)
    assert verdict.config.mode is Mode.MANAGE
    assert verdict.config.credentials == {"api_token": Secret("tk")}
    assert verdict.config.ignored_apps == ("billing", "paastis")


def test_account_waits_until_its_secret_was_read() -> None:
    assert judge([account("prod")], lambda _: None, {}) == {"prod": Waits()}


@pytest.mark.parametrize("reason", [Reason.SECRET_MISSING, Reason.SECRET_FORBIDDEN])
def test_account_without_token_rests_and_keeps_what_it_says_of_its_apps(reason: Reason) -> None:
    problem = Credentials(problem=reason, message="There is no Secret.")

    (verdict,) = verdicts(
        account("prod", mode="Manage", onlyApps=["shop"]), secrets={"prod-token": problem}
    ).values()

    assert isinstance(verdict, Rests)
    assert (verdict.reason, verdict.message) == (reason, "There is no Secret.")
    assert verdict.config.only_apps == ("shop",)
    assert verdict.config.credentials == {}


def test_account_that_names_no_secret_rests() -> None:
    (verdict,) = verdicts(account("prod", credentialsSecretRef={})).values()

    assert isinstance(verdict, Rests)
    assert verdict.reason is Reason.SECRET_MISSING


def test_bad_spec_rests_with_the_sentence_and_breaks_no_other_account() -> None:
    found = verdicts(account("bad", regions=["?"]), account("good"))

    assert isinstance(found["good"], Acts)
    bad = found["bad"]
    assert isinstance(bad, Rests)
    assert bad.reason is Reason.ACCOUNT_INVALID
    assert "spec.regions" in bad.message
    assert bad.config.mode is Mode.PAUSE


def test_of_two_with_the_same_token_the_older_one_acts() -> None:
    found = verdicts(
        account("a-young", created=2, secret="shared"),
        account("old", created=1, secret="shared"),
        secrets={"shared": holds("tk")},
    )

    assert isinstance(found["old"], Acts)
    young = found["a-young"]
    assert isinstance(young, Rests)
    assert young.reason is Reason.DUPLICATE
    assert "'old'" in young.message


def test_of_two_tokens_of_the_same_owner_the_older_account_acts() -> None:
    young, old = account("young", created=2), account("old", created=1)

    found = verdicts(young, old, owners={"young": "demo", "old": "demo"})

    assert isinstance(found["old"], Acts)
    assert isinstance(found["young"], Rests)
    assert all(
        isinstance(verdict, Acts)
        for verdict in verdicts(young, old, owners={"young": "demo", "old": "other"}).values()
    )


def test_owner_of_the_same_name_elsewhere_is_somebody_else() -> None:
    here = account("here", apiUrl="https://a.example.com")
    there = account("there", apiUrl="https://b.example.com")

    found = verdicts(here, there, owners={"here": "demo", "there": "demo"})

    assert all(isinstance(verdict, Acts) for verdict in found.values())


def test_account_that_rests_is_in_nobodys_way() -> None:
    found = verdicts(
        account("old", created=1, secret="shared", regions=["?"]),
        account("young", created=2, secret="shared"),
        secrets={"shared": holds("tk")},
    )

    assert isinstance(found["young"], Acts)


@pytest.mark.parametrize(
    ("data", "words"),
    [({}, "apiToken"), ({"apiToken": "  \n"}, "apiToken"), ({"apiToken": "two words"}, "apiToken")],
)
def test_secret_without_usable_token_is_told_by_its_key_alone(
    data: dict[str, str], words: str
) -> None:
    found = credentials_of(secret("prod-token", data))

    assert found.problem is Reason.SECRET_INVALID
    assert words in found.message
    assert "two words" not in found.message


def test_line_break_after_a_token_is_none_of_it() -> None:
    assert credentials_of(secret("prod-token", {"apiToken": "tk-us-a\n"})) == holds("tk-us-a")
