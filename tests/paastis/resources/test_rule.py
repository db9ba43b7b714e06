"""PaastisRules: what they say comes back, and what is wrong is told and breaks nothing else."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.config.rules_file import parse_rules_file
from paastis.policy import Power, Settings
from paastis.resources.rule import manifest_of, rule_from, rule_status
from paastis.resources.values import BadResource
from paastis.rule import Rule
from tests.paastis.factories import MINUTE, NOW
from tests.paastis.resources import strategies
from tests.paastis.resources.merge import merged


def a_rule(**spec: Any) -> dict[str, Any]:
    """A resource with that spec."""
    return {"metadata": {"name": "reviews", "generation": 2}, "spec": spec}


rules = st.builds(
    Rule,
    pattern=st.sampled_from(["app-.*", r"shop-(?P<pr>\d+)"]),
    settings=strategies.settings,
    source=st.just("PaastisRule reviews"),
    name=st.just("reviews"),
    priority=st.integers(-999_999, 999_999),
    accounts=st.none() | strategies.tuples(strategies.names),
)


@given(rules)
def test_every_rule_comes_back_as_it_was(rule: Rule) -> None:
    manifest = json.loads(json.dumps(manifest_of(rule, "reviews")))
    assert rule_from(manifest) == (rule, ())


def test_rule_of_the_file_is_exported_without_its_hooks() -> None:
    text = """
rules:
  - pattern: review-(\\d+)
    app_max_idle_time: 5
    hosts: [$1.reviews.example.com]
    hooks: {before_stop: make backup}
"""
    problems: list[str] = []
    content = parse_rules_file(
        text, name="paastis.yml", variable=lambda _: None, insecure=False, problems=problems
    )
    assert manifest_of(content.rules[0], "reviews") == {
        "apiVersion": "paastis.io/v1alpha1",
        "kind": "PaastisRule",
        "metadata": {"name": "reviews"},
        "spec": {
            "pattern": "review-(\\d+)",
            "maxIdleTime": "5m",
            "hosts": ["$1.reviews.example.com"],
        },
    }


@pytest.mark.parametrize("pattern", ["(a", "(a+)+b", "", "a" * 201])
def test_rule_without_a_usable_pattern_is_none(pattern: str) -> None:
    rule, problems = rule_from(a_rule(pattern=pattern, power="AlwaysOn"))
    assert rule is None
    assert len(problems) == 1
    assert problems[0].startswith("spec.pattern: ")


def test_rule_that_says_no_pattern_is_told_so() -> None:
    assert rule_from(a_rule(power="x")) == (
        None,
        (
            "spec.pattern: a rule needs a pattern",
            "spec.power: 'x' is not known; expected one of Auto, AlwaysOn, AlwaysOff, Unmanaged",
        ),
    )


def test_field_that_cannot_be_used_takes_no_other_with_it() -> None:
    rule, problems = rule_from(
        a_rule(pattern="a", power="AlwaysOn", schedule={"timeZone": "Nowhere"}, priority="high")
    )
    assert rule is not None
    assert rule.settings == Settings(power=Power.ALWAYS_ON)
    assert [problem.split(":")[0] for problem in problems] == [
        *("spec.schedule.timeZone", "spec.priority")
    ]


def test_rule_without_a_name_is_refused() -> None:
    with pytest.raises(BadResource):
        rule_from({"spec": {"pattern": "a"}})


@pytest.mark.parametrize(
    ("spec", "dropped", "status", "reason", "said"),
    [
        ({"pattern": "a"}, (), "True", "Valid", "as it is"),
        ({"pattern": "a"}, ("host '$9' was dropped",), "False", "TemplateDropped", "$9"),
        ({"pattern": "a", "power": "x"}, (), "False", "RuleInvalid", "spec.power"),
        ({"pattern": "(a"}, (), "False", "PatternInvalid", "spec.pattern"),
    ],
)
def test_status_says_whether_the_rule_can_be_used(
    spec: dict[str, Any], dropped: tuple[str, ...], status: str, reason: str, said: str
) -> None:
    resource = a_rule(**spec)
    problems = rule_from(resource)[1]
    patch = rule_status(resource, apps=3, problems=problems, dropped=dropped, now=NOW)
    (condition,) = patch["conditions"]
    assert (condition["type"], condition["status"]) == ("Valid", status)
    assert condition["reason"] == reason
    assert said in condition["message"]
    assert condition["message"].endswith(".")
    assert patch["apps"] == 3
    assert patch["observedGeneration"] == 2


def test_status_that_is_there_already_is_no_news() -> None:
    resource = a_rule(pattern="a")

    def status(apps: int, dropped: tuple[str, ...], minutes: int) -> dict[str, Any]:
        now = NOW + minutes * MINUTE
        return rule_status(resource, apps=apps, problems=(), dropped=dropped, now=now)

    resource["status"] = merged({}, status(3, (), 0))
    assert status(3, (), 1) == {}
    again = status(4, (), 1)
    assert again["conditions"][0]["lastTransitionTime"] == "2026-03-04T12:00:00Z"
    resource["status"] = merged(resource["status"], again)
    assert status(4, ("x",), 2)["conditions"][0]["lastTransitionTime"] == "2026-03-04T12:02:00Z"


def test_many_problems_are_told_by_the_first_and_a_number() -> None:
    patch = rule_status(
        a_rule(pattern="a"), apps=0, problems=(), dropped=[f"No {n}" for n in range(12)], now=NOW
    )
    message = patch["conditions"][0]["message"]
    assert message.startswith("No 0. No 1. ")
    assert message.endswith("No 9. And 2 more.")


def test_durations_of_a_rule_may_be_as_long_as_those_of_the_file() -> None:
    rule, problems = rule_from(a_rule(pattern="a", maxIdleTime="8760h"))
    assert rule is not None
    assert not problems
    assert rule.settings.max_idle_time == timedelta(days=365)
