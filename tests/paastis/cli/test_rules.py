"""Rules taken into a cluster: the same policies, names that stay, and nothing that is a secret."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from paastis.cli import main
from paastis.cli.rules import as_yaml, left_behind, manifests, resource_name
from paastis.policy import Mode, Policy, Power, Settings
from paastis.resources.rule import rule_from
from paastis.rule import Hooks, Rule, effective
from tests.paastis.resources import strategies

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

APPS = ("shop", "app-7", "app-review-pr12-back", "hello-fastify-2", "x")
ACCOUNTS = ("main", "other")
PATTERNS = (
    ".*",
    "shop",
    "app-.*",
    r"app-review-pr(\d+)-(back|front)",
    ".*fastify.*",
    "(?<name>[a-z]+)-?.*",
)

rules = st.lists(
    st.builds(
        Rule,
        pattern=st.sampled_from(PATTERNS),
        settings=strategies.settings,
        source=st.just("rule"),
        name=st.sampled_from(["", *PATTERNS, "The shop", "Ünïcode", "*"]) | strategies.texts,
        priority=st.integers(-3, 3),
        accounts=st.none() | strategies.tuples(st.sampled_from(ACCOUNTS)),
        hooks=st.sampled_from([Hooks(), Hooks(before_stop="./ask.sh")]),
    ),
    max_size=6,
)


def rule(pattern: str, name: str = "", /, *, priority: int = 0, **said: Any) -> Rule:
    return Rule(
        pattern, Settings(**said), f"rule {pattern!r}", name=name or pattern, priority=priority
    )


def policy(app_name: str, account: str, given_rules: Sequence[Rule]) -> Policy:
    found = effective(
        app_name,
        account,
        given_rules,
        defaults=Settings(),
        account_settings=Settings(max_idle_time=timedelta(minutes=7)),
        overrides=Settings(),
        mode=Mode.MANAGE,
    )
    return replace(found.policy, sources={})


@given(rules, st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=150, deadline=None)
def test_resources_give_every_app_the_policy_that_the_file_gave(
    written: list[Rule], order: random.Random
) -> None:
    documents = list(yaml.safe_load_all(as_yaml(manifests(written))))
    order.shuffle(documents)  # nobody lists resources in the order of a file
    read = []
    for document in documents:
        found, problems = rule_from(document)
        assert problems == ()
        assert found is not None
        read.append(found)
    for app_name in APPS:
        for account in ACCOUNTS:
            assert policy(app_name, account, read) == policy(app_name, account, written)


@given(rules)
def test_names_are_unique_and_fit_a_resource(written: list[Rule]) -> None:
    names = [document["metadata"]["name"] for document in manifests(written)]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello-fastify", "hello-fastify"),
        ("app-.*", "app"),
        (r"app-review-pr(\d+)-(back|front)", "app-review-pr-d-back-front"),
        ("The Shop", "the-shop"),
        (".*", "rule"),
        ("a" * 49 + "-b", "a" * 49),
    ],
)
def test_name_is_made_from_what_the_rule_is_called(text: str, expected: str) -> None:
    assert resource_name(text, taken=()) == expected


def test_rule_that_is_added_at_the_end_renames_no_other() -> None:
    before = [rule("app-.*", power=Power.AUTO), rule("app", power=Power.ALWAYS_ON)]
    after = [*before, rule("app", rewrite=False), rule("app", rewrite=True)]
    assert manifests(after)[:2] == manifests(before)


def test_later_rules_win_by_priority_with_room_between_them() -> None:
    found = manifests([rule("a", rewrite=True), rule("b", rewrite=False, priority=-1), rule("c")])
    assert [(one["metadata"]["name"], one["spec"]["priority"]) for one in found] == [
        ("b", 10),
        ("a", 20),
        ("c", 30),
    ]


def test_rule_that_is_there_for_its_hooks_alone_is_left_out() -> None:
    hooked = replace(rule("a"), hooks=Hooks(after_start="curl https://x/?token=tk-secret"))
    assert manifests([hooked]) == []
    (told,) = left_behind([hooked, rule("b")])
    assert told.startswith("rule 'a': its hooks are not exported")
    assert "curl" not in told


@pytest.mark.parametrize("text", ["y", "no", "1e3", "0x1", "12:30", "null", "a: b", "'", "~", "é#"])
def test_text_stays_text_for_every_reader(text: str) -> None:
    (line,) = as_yaml([{"displayName": text}]).removeprefix("---\n").splitlines()
    assert line.startswith(("displayName: '", 'displayName: "'))
    assert yaml.safe_load(line) == {"displayName": text}


# --- the command


FILE = """\
accounts:
  - provider: scalingo
    api_token_env: NOT_SET_HERE
rules:
  - pattern: 'app-review-pr(\\d+)-(back|front)'
    linked_apps: ['app-review-pr$1-front']
  - pattern: '.*fastify.*'
    name: Fastify
    app_max_idle_time: 90
    hooks:
      before_stop: ./ask.sh --token tk-secret
"""

EXPORTED = """\
---
apiVersion: paastis.io/v1alpha1
kind: PaastisRule
metadata:
  name: app-review-pr-d-back-front
  namespace: shops
spec:
  pattern: 'app-review-pr(\\d+)-(back|front)'
  priority: 10
  linkedApps:
    - 'app-review-pr$1-front'
---
apiVersion: paastis.io/v1alpha1
kind: PaastisRule
metadata:
  name: fastify
  namespace: shops
spec:
  pattern: '.*fastify.*'
  priority: 20
  maxIdleTime: '1h30m'
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAASTIS_CONFIG", raising=False)
    return tmp_path


def export(*words: str) -> Any:
    return CliRunner().invoke(main, ["rules", "export", *words])


def test_file_becomes_manifests_without_any_token(directory: Path) -> None:
    (directory / "paastis.yml").write_text(FILE)
    told = export("--namespace", "shops")
    assert (told.exit_code, told.stdout) == (0, EXPORTED)
    hooks, accounts = told.stderr.splitlines()
    assert hooks.startswith("paastis: rule '.*fastify.*' (paastis.yml, line 7): its hooks are not")
    assert accounts.startswith("paastis: accounts are not exported, since they hold secrets")
    assert "secret" not in told.stderr.replace("secrets", "")


def test_another_file_may_be_named(directory: Path) -> None:
    (directory / "rules.yml").write_text("rules: [{pattern: shop, power: always-on}]")
    told = export("--config", "rules.yml")
    assert (told.exit_code, told.stderr) == (0, "")
    assert yaml.safe_load(told.stdout)["spec"] == {
        "pattern": "shop",
        "priority": 10,
        "power": "AlwaysOn",
    }


def test_file_without_rules_exports_nothing(directory: Path) -> None:
    (directory / "paastis.yml").write_text("rules: []")
    told = export()
    assert (told.exit_code, told.stdout) == (0, "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rules: [{pattern: '('}]", "paastis.yml, line 1: pattern: "),
        ("rules: [{pattern: a, powr: auto}]", "did you mean 'power'?"),
        (None, "there is no paastis.yml here"),
    ],
)
def test_mistake_in_the_rules_is_a_matter_of_configuration(
    directory: Path, text: str | None, sentence: str
) -> None:
    if text is not None:
        (directory / "paastis.yml").write_text(text)
    told = export()
    assert (told.exit_code, told.stdout) == (2, "")
    assert sentence in told.stderr


def test_file_that_was_named_and_is_not_there_is_told_once(directory: Path) -> None:
    told = export("--config", "none.yml")
    assert told.exit_code == 2
    assert (
        told.stderr
        == "paastis: PAASTIS_CONFIG: there is no file 'none.yml'; expected rules in it\n"
    )
