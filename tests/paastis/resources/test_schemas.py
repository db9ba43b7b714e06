"""The definitions say what the code says, field by field, and explain each of it."""

import json
from collections.abc import Iterable
from dataclasses import fields as fields_of
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given

from paastis import app as models
from paastis import policy as policies
from paastis.app import App
from paastis.config.accounts import PROVIDERS, AccountConfig
from paastis.pattern import LONGEST_PATTERN
from paastis.resources import account, policy, rule, settings
from paastis.resources.app import OVERRIDE_KEYS
from paastis.resources.names import ACCOUNTS, APPS, GROUP, RULES, VERSION, Resource
from paastis.resources.rule import manifest_of
from paastis.resources.standing import standing_of
from paastis.resources.writing import spec_of, status_of
from paastis.rule import Rule
from tests.paastis.factories import NOW
from tests.paastis.resources import strategies
from tests.paastis.resources.definitions import (
    KINDS,
    definition,
    fields,
    parts,
    problems,
    schema,
    version,
)
from tests.paastis.resources.test_rule import rules


def camel(kind: type, *, but: Iterable[str] = ()) -> set[str]:
    """The names of a model's fields as resources spell them."""
    names = [field.name for field in fields_of(kind) if field.name not in but]
    return {first + "".join(map(str.capitalize, rest)) for first, *rest in map(_words, names)}


def _words(name: str) -> list[str]:
    return name.split("_")


def values(kind: type[StrEnum]) -> list[str]:
    return [member.value for member in kind]


SETTINGS = camel(policies.Settings)


@pytest.mark.parametrize("resource", [APPS, RULES, ACCOUNTS])
def test_names_are_those_of_the_code(resource: Resource) -> None:
    known = definition(resource.plural)
    names = known["spec"]["names"]
    assert known["metadata"]["name"] == f"{resource.plural}.{GROUP}"
    assert known["spec"]["group"] == GROUP
    assert known["spec"]["scope"] == "Namespaced"
    assert version(resource.plural)["name"] == VERSION
    assert (names["plural"], names["kind"]) == (resource.plural, resource.kind)
    assert names["categories"] == ["paastis"]
    assert version(resource.plural)["subresources"] == {"status": {}}


@pytest.mark.parametrize("plural", KINDS)
def test_every_field_is_explained_in_sentences(plural: str) -> None:
    for path, known in parts(schema(plural)):
        if path == ".metadata":
            continue  # the server explains it
        text = known.get("description", "")
        assert text[:1].isupper(), path
        assert text.endswith("."), path
    for column in version(plural)["additionalPrinterColumns"]:
        assert column["description"].endswith(".")


@pytest.mark.parametrize("plural", KINDS)
def test_every_text_and_list_is_bounded_and_every_list_replaced_whole(plural: str) -> None:
    for path, known in parts(schema(plural)):
        if path in {".apiVersion", ".kind"}:
            continue
        if known["type"] == "string" and "enum" not in known:
            assert known.get("maxLength"), path
        if known["type"] == "array":
            assert known.get("maxItems"), path
            assert known.get("x-kubernetes-list-type") == "atomic", path
        if "additionalProperties" in known:
            assert path == ".status.policy.sources"
            assert known.get("maxProperties")


@pytest.mark.parametrize("plural", KINDS)
def test_refusals_are_sentences_and_no_status_is_refused_by_a_rule(plural: str) -> None:
    for path, known in parts(schema(plural)):
        for check in known.get("x-kubernetes-validations", ()):
            assert check["message"][0].isupper(), path
            assert check["message"].endswith("."), path
            assert not path.startswith(".status"), path


def test_spec_of_an_app_is_its_identity_its_name_and_the_overrides() -> None:
    overrides = SETTINGS | camel(models.Overrides, but=["settings", "problems"])
    assert set(OVERRIDE_KEYS) == overrides
    identity = {"accountRef", "appId", "region"}
    assert fields("paastisapps", "spec") == identity | {"appName"} | overrides
    assert set(schema("paastisapps", "spec")["required"]) == identity
    assert fields("paastisapps", "spec", "accountRef") == {"name"}


def test_status_of_an_app_is_the_rest_of_the_record() -> None:
    elsewhere = ["name", "identity", "app_name", "overrides", "version"]
    renamed = {
        "createdAt": "discoveredAt",
        "phaseReason": "reason",
        "usualBoot": "usualBootSeconds",
    }
    names = {renamed.get(name, name) for name in camel(App, but=elsewhere)}
    assert fields("paastisapps", "status") == names | {"observedGeneration"}


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (("formation", "[]"), models.Process),
        (("snapshot",), models.Snapshot),
        (("snapshot", "processes", "[]"), models.Process),
        (("operation",), models.Operation),
        (("retry",), models.Retry),
        (("lastActivity",), models.Activity),
        (("policy", "schedule"), policies.Schedule),
        (("policy", "schedule", "awake", "[]"), policies.Window),
        (("policy", "wake"), policies.Wake),
        (("policy", "ignoreAccess"), policies.IgnoreAccess),
    ],
)
def test_objects_of_a_status_have_the_fields_of_their_models(
    path: tuple[str, ...], model: type
) -> None:
    assert fields("paastisapps", "status", *path) == camel(model)


def test_policy_has_the_fields_of_its_model_and_names_its_rules() -> None:
    names = camel(policies.Policy) | {"rule"}
    assert fields("paastisapps", "status", "policy") == names == set(policy.POLICY_KEYS)


@pytest.mark.parametrize("plural", KINDS)
def test_conditions_are_those_of_kubernetes(plural: str) -> None:
    conditions = schema(plural, "status", "conditions", "[]")
    required = {"type", "status", "reason", "message", "lastTransitionTime"}
    assert set(conditions["required"]) == required
    assert set(conditions["properties"]) == required | {"observedGeneration"}
    assert len(camel(models.Condition)) == len(required)


@pytest.mark.parametrize("plural", ["paastisapps", "paastisrules"])
def test_settings_have_the_fields_of_their_models(plural: str) -> None:
    assert set(settings.SETTINGS_KEYS) == SETTINGS <= fields(plural, "spec")
    wake = fields(plural, "spec", "wake")
    assert wake == camel(policies.WakeSettings) == set(settings.WAKE_KEYS)
    assert wake == camel(policies.Wake)
    schedule = fields(plural, "spec", "schedule")
    assert schedule == camel(policies.Schedule) == set(settings.SCHEDULE_KEYS)
    for windows in ("awake", "sleep"):
        window = schema(plural, "spec", "schedule", windows, "[]")
        assert set(window["properties"]) == camel(policies.Window) == set(window["required"])
    ignore = fields(plural, "spec", "ignoreAccess")
    assert ignore == camel(policies.IgnoreAccess) == set(settings.IGNORE_ACCESS_KEYS)


@pytest.mark.parametrize(
    "name", ["power", "schedule", "wake", "ignoreAccess", "rewrite", "maxTunnelIdle"]
)
def test_settings_of_rules_and_overrides_are_explained_and_checked_alike(name: str) -> None:
    assert schema("paastisapps", "spec", name) == schema("paastisrules", "spec", name)


def test_spec_of_a_rule_has_the_fields_of_its_model() -> None:
    own = camel(Rule, but=["settings", "source", "name", "hooks"])
    assert set(rule.RULE_KEYS) == own
    assert fields("paastisrules", "spec") == own | SETTINGS
    assert schema("paastisrules", "spec")["required"] == ["pattern"]
    assert fields("paastisrules", "status") == {"apps", "conditions", "observedGeneration"}


def test_spec_of_an_account_has_the_fields_of_its_model() -> None:
    own = camel(AccountConfig, but=["name", "source", "credentials", "urls"])
    names = own | {"credentialsSecretRef", "apiUrl", "authUrl"}
    assert fields("paastisaccounts", "spec") == names == set(account.ACCOUNT_KEYS)
    assert schema("paastisaccounts", "spec")["required"] == ["provider"]
    assert schema("paastisaccounts", "spec", "mode")["default"] == "Observe"


def test_status_of_an_account_has_what_is_written() -> None:
    written = account.account_status(
        {},
        reachable=None,
        apps=None,
        budget_left=None,
        last_complete_listing=None,
        conditions=(),
        now=NOW,
    )
    assert fields("paastisaccounts", "status") == written.keys()


@pytest.mark.parametrize(
    ("plural", "path", "words"),
    [
        ("paastisapps", "spec.power", values(policies.Power)),
        ("paastisapps", "spec.wake.mode", values(policies.WakeMode)),
        ("paastisapps", "spec.wake.by", values(policies.WakeBy)),
        ("paastisapps", "status.phase", values(models.Phase)),
        ("paastisapps", "status.policy.power", values(policies.Power)),
        ("paastisapps", "status.policy.mode", values(policies.Mode)),
        ("paastisapps", "status.policy.wake.mode", values(policies.WakeMode)),
        ("paastisapps", "status.policy.wake.by", values(policies.WakeBy)),
        ("paastisapps", "status.operation.kind", values(models.OperationKind)),
        ("paastisaccounts", "spec.provider", list(PROVIDERS)),
        ("paastisaccounts", "spec.mode", values(policies.Mode)),
    ],
)
def test_words_are_those_of_the_code(plural: str, path: str, words: list[str]) -> None:
    assert schema(plural, *path.split("."))["enum"] == words


def test_patterns_are_as_long_as_the_code_allows() -> None:
    assert schema("paastisrules", "spec", "pattern")["maxLength"] == LONGEST_PATTERN
    for name in ("ignoredApps", "onlyApps"):
        assert schema("paastisaccounts", "spec", name, "[]")["maxLength"] == LONGEST_PATTERN


def test_overrides_have_no_defaults_since_those_would_beat_every_rule() -> None:
    for path, known in parts(schema("paastisapps", "spec")):
        assert "default" not in known, path


@pytest.mark.parametrize("plural", KINDS)
def test_no_column_holds_a_date_that_may_lie_ahead(plural: str) -> None:
    for column in version(plural)["additionalPrinterColumns"]:
        if column["type"] == "date":
            assert column["jsonPath"] in {
                *(".metadata.creationTimestamp", ".status.lastAccessTime")
            }


@given(strategies.apps)
def test_server_would_take_every_record_as_it_is(app: App) -> None:
    status = status_of(app, standing_of(app, ()), 3)
    assert problems(_plain(spec_of(app)), schema("paastisapps", "spec")) == []
    assert problems(_plain(status), schema("paastisapps", "status")) == []


@given(rules)
def test_server_would_take_every_exported_rule_as_it_is(rule: Rule) -> None:
    spec = manifest_of(rule, "reviews")["spec"]
    assert problems(_plain(spec), schema("paastisrules", "spec")) == []


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
