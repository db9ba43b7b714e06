"""Values that cannot be meant are refused, with a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.charts.values import SCALINGO, Values

if TYPE_CHECKING:
    from tests.cluster.chart.release import Release


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"repilcas": 2}, "at '': additional properties 'repilcas' not allowed"),
        ({"proxy": {"replica": 2}}, "at '/proxy': additional properties 'replica' not allowed"),
        ({"proxy": {"replicas": "two"}}, "at '/proxy/replicas': got string, want integer"),
        ({"logging": {"level": "loud"}}, "at '/logging/level': value must be one of 'debug', "),
        ({"settings": {"drainTime": "5 s"}}, "at '/settings/drainTime': '5 s' does not match"),
        ({"settings": {"drainTime": 5}}, "at '/settings/drainTime': got number, want string"),
        ({"accounts": {"Main": SCALINGO}}, "invalid propertyName 'Main'"),
        (
            {"accounts": {"main": {**SCALINGO, "mode": "manage"}}},
            "at '/accounts/main/mode': value must be one of 'Observe', 'Manage'",
        ),
        (
            {"accounts": {"main": {"provider": "scalingo"}}},
            "at '/accounts/main': missing property 'credentials'",
        ),
        (
            {"accounts": {"main": {**SCALINGO, "region": "osc-fr1"}}},
            "at '/accounts/main': additional properties 'region' not allowed",
        ),
        (
            {"accounts": {"main": {**SCALINGO, "credentials": {}}}},
            "accounts.main.credentials: nothing given; name a Secret with the key apiToken",
        ),
        (
            {
                "accounts": {
                    "main": {**SCALINGO, "credentials": {"apiToken": "a", "existingSecret": "b"}}
                }
            },
            "accounts.main.credentials: both apiToken and existingSecret are given",
        ),
        (
            {"rules": {"all": {"pattern": ".*", "maxIdelTime": "1h"}}},
            "at '/rules/all': additional properties 'maxIdelTime' not allowed",
        ),
        (
            {"rules": {"all": {"pattern": ".*", "maxIdleTime": "15 minutes"}}},
            "at '/rules/all/maxIdleTime': '15 minutes' does not match pattern",
        ),
        ({"rules": {"all": {}}}, "at '/rules/all': missing property 'pattern'"),
        ({"systemApi": {"enabled": True}}, "systemApi: it is enabled without a token"),
        (
            {"ingress": {"enabled": True}},
            "ingress.hosts is empty, and so is proxy.baseDomains: name the hosts",
        ),
        (
            {"ingress": {"enabled": True, "hosts": ["a.example.org"]}},
            "proxy.trustedProxies is empty: behind an Ingress or HTTPRoute, name the networks",
        ),
        (
            {
                "httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}]},
                "proxy": {"baseDomains": ["example.org"]},
            },
            "proxy.trustedProxies is empty",
        ),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs is empty: name the Gateway"),
        (
            {"proxy": {"autoscaling": {"enabled": True, "minReplicas": 20}}},
            "proxy.autoscaling.minReplicas (20) is more than maxReplicas (10).",
        ),
        (
            {"proxy": {"serviceAccount": {"create": False}}},
            "proxy.serviceAccount.name is empty: with create: false, name the ServiceAccount",
        ),
    ],
)
def test_wrong_value_is_refused_with_a_sentence(
    release: Release, values: Values, sentence: str
) -> None:
    assert sentence in release.refusal(values)


@pytest.mark.parametrize(
    "values",
    [
        {"accounts": {"main": {**SCALINGO, "credentials": {"apiToken": "se cret"}}}},
        {"systemApi": {"enabled": True, "token": "se cret"}},
    ],
)
def test_refusal_of_a_token_does_not_show_it(release: Release, values: Values) -> None:
    said = release.refusal(values)

    assert "not shown, it is a secret" in said
    assert "se cret" not in said
