"""paastis.yml: everything that it may say, and each mistake with its line."""

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paastis.config.accounts import AccountConfig
from paastis.config.rules_file import FileContent, parse_rules_file
from paastis.policy import (
    IgnoreAccess,
    Mode,
    Power,
    Schedule,
    Settings,
    WakeBy,
    WakeMode,
    WakeSettings,
    Window,
)
from paastis.rule import Hooks, Rule
from paastis.secret import Secret


def parse(text: str) -> tuple[FileContent, list[str]]:
    problems: list[str] = []
    content = parse_rules_file(
        text,
        name="paastis.yml",
        variable={"TEAM_TOKEN": "tk-team"}.get,
        insecure=False,
        problems=problems,
    )
    return content, problems


def test_everything_a_rule_can_say_is_read() -> None:
    content, problems = parse(
        """
rules:
  - pattern: '(?<team>[a-z]+)-demo'
    name: demos
    priority: 10
    accounts: [scalingo]
    app_name: '$team'
    app_max_idle_time: 0.5
    linked_apps: ['$team-api']
    power: always-on
    hosts: ['$team.example.com', WWW.example.com]
    schedule:
      time_zone: Europe/Paris
      awake: [{start: '0 8 * * 1-5', end: '0 19 * * 1-5'}]
      sleep: [{start: '0 22 * * *', end: '0 6 * * *'}]
    wake:
      mode: hold
      by: visit
      timeout: 20
      page_status: 202
      ready_path: /health
      ready_status: [200, 204]
    ignore_access:
      methods: [options]
      paths: ['/health']
      user_agents: [uptime]
      addresses: [192.0.2.1/24]
      built_in: no
    rewrite: false
    max_tunnel_idle: 1h
    hooks:
      before_start: one
      after_start: two
      before_stop: three
      after_stop: ''
"""
    )

    assert problems == []
    assert content.rules == (
        Rule(
            pattern="(?<team>[a-z]+)-demo",
            name="demos",
            priority=10,
            accounts=("scalingo",),
            source="rule '(?<team>[a-z]+)-demo' (paastis.yml, line 3)",
            settings=Settings(
                power=Power.ALWAYS_ON,
                max_idle_time=timedelta(seconds=30),
                linked_apps=("$team-api",),
                display_name="$team",
                hosts=("$team.example.com", "www.example.com"),
                schedule=Schedule(
                    "Europe/Paris",
                    (Window("0 8 * * 1-5", "0 19 * * 1-5"),),
                    (Window("0 22 * * *", "0 6 * * *"),),
                ),
                wake=WakeSettings(
                    WakeMode.HOLD, WakeBy.VISIT, timedelta(seconds=20), 202, "/health", (200, 204)
                ),
                ignore_access=IgnoreAccess(
                    ("OPTIONS",), ("/health",), ("uptime",), ("192.0.2.0/24",), built_in=False
                ),
                rewrite=False,
                max_tunnel_idle=timedelta(hours=1),
            ),
            hooks=Hooks("one", "two", "three", ""),
        ),
    )


def test_a_rule_leaves_open_what_it_does_not_say() -> None:
    content, problems = parse("rules: [{pattern: a, app_name: }]")

    assert problems == []
    assert content.rules[0].settings == Settings()
    assert content.rules[0].name == "a"


def test_everything_an_account_can_say_is_read() -> None:
    content, problems = parse(
        """
accounts:
  - name: reviews
    provider: scalingo
    api_token_env: TEAM_TOKEN
    mode: observe
    regions: [osc-fr1]
    max_idle_time: 30
    operation_timeout: 60
    calls_per_minute: 40
    only_apps: ['.*-pr\\d+']
    ignored_apps: [paastis]
    api_url: https://api.example.com/
    auth_url: http://localhost:1
  - provider: scalingo
    api_token: tk
"""
    )

    assert problems == []
    assert content.variables == ("TEAM_TOKEN",)
    assert content.accounts == (
        AccountConfig(
            name="reviews",
            provider="scalingo",
            mode=Mode.OBSERVE,
            regions=("osc-fr1",),
            credentials={"api_token": Secret("tk-team")},
            urls={"api": "https://api.example.com", "auth": "http://localhost:1"},
            operation_timeout=timedelta(seconds=60),
            calls_per_minute=40,
            max_idle_time=timedelta(minutes=30),
            ignored_apps=("paastis",),
            only_apps=(r".*-pr\d+",),
            source="account 'reviews' (paastis.yml, line 3)",
        ),
        AccountConfig(
            name="scalingo",
            provider="scalingo",
            credentials={"api_token": Secret("tk")},
            source="account 'scalingo' (paastis.yml, line 15)",
        ),
    )


@pytest.mark.parametrize("power", ["always-on", "AlwaysOn", "ALWAYS_ON", "alwayson"])
def test_power_may_be_spelt_in_either_style(power: str) -> None:
    content, _ = parse(f"rules: [{{pattern: a, power: {power}}}]")

    assert content.rules[0].settings.power is Power.ALWAYS_ON


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "rules:\n", "rules:\naccounts:\n", "~"]
)
def test_an_empty_file_says_nothing(text: str) -> None:
    assert parse(text) == (FileContent(), [])


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("rules:\n- pattern: a\n  app_idle: 1", 3, "'app_idle'; did you mean 'app_max_idle_time'?"),
        ("ruels: []", 1, "unknown key 'ruels'; did you mean 'rules'?"),
        ("rules:\n- pattern: a\n  zzz: 1", 3, "unknown key 'zzz'; expected one of pattern"),
        ("rules:\n- pattern: a\n  pattern: b", 3, "key 'pattern' again; it is already on line 2"),
        ("rules:\n- pattern: a\n  app_name: x\n  display_name: y", 4, "the same as app_name"),
        ("rules:\n- app_name: a", 2, "a rule without its pattern"),
        ("rules:\n- pattern: 'a('", 2, "'a(' is not a regular expression"),
        ("rules:\n- pattern: '(a+)+'", 2, "could take for ever"),
        ("rules:\n- pattern: [a]", 2, "pattern should be a single value"),
        ("rules:\n- pattern: yes", 2, "quote it"),
        ("rules:\n- pattern: !!python/name:os.system a", 2, "should be a plain value"),
        ("rules:\n- a", 2, "each of rules should be a mapping"),
        ("rules: a", 1, "rules should be a list"),
        ("[a]", 1, "the file should be a mapping with rules, accounts"),
        ("a", 1, "the file should be a mapping"),
        ("rules:\n- pattern: a\n  linked_apps: b", 3, "linked_apps should be a list"),
        ("rules:\n- pattern: a\n  linked_apps:\n  - [b]", 4, "should be a single value"),
        ("rules:\n- pattern: a\n  rewrite: 3", 3, "rewrite should be true or false"),
        ("rules:\n- pattern: a\n  priority: high", 3, "expected a whole number"),
        ("rules:\n- pattern: a\n  app_max_idle_time: -5", 3, "is not a duration"),
        ("rules:\n- pattern: a\n  app_max_idle_time: 1:30", 3, "'1:30' is not a duration"),
        ("rules:\n- pattern: a\n  app_max_idle_time: .inf", 3, "is not a duration"),
        ("rules:\n- pattern: a\n  power: sometimes", 3, "expected one of auto, always-on"),
        ("rules:\n- pattern: a\n  wake: {mode: holt}", 3, "did you mean 'hold'?"),
        ("rules:\n- pattern: a\n  wake: {timeout: 1h}", 3, "expected 1s to 10m"),
        ("rules:\n- pattern: a\n  wake: {page_status: 404}", 3, "expected one of 503, 200, 202"),
        ("rules:\n- pattern: a\n  wake: {ready_path: x}", 3, "expected one as in /health"),
        ("rules:\n- pattern: a\n  schedule: {time_zone: Mars}", 3, "'Mars' is not a time zone"),
        ("rules:\n- pattern: a\n  schedule: {awake: [{start: x, end: 0 0 * * *}]}", 3, "cron"),
        ("rules:\n- pattern: a\n  schedule: {awake: [{start: 0 0 * * *}]}", 3, "without its end"),
        ("rules:\n- pattern: a\n  ignore_access: {paths: ['.*.*.*.*']}", 3, "open repeats"),
        ("rules:\n- pattern: a\n  ignore_access: {addresses: [x]}", 3, "is not a network"),
        ("rules:\n- pattern: a\n  hosts: ['a b']", 3, "is not a domain"),
        ("rules:\n- pattern: a\n  hooks: {before: x}", 3, "unknown key 'before'"),
        ("accounts:\n- name: a\n  api_token: x", 2, "an account without its provider"),
        ("accounts:\n- provider: a", 2, "expected one of scalingo, heroku, clever-cloud"),
        (
            "accounts:\n- provider: scalingo\n  api_token_env: MISSING",
            3,
            "variable MISSING is not set",
        ),
        ("accounts:\n- provider: scalingo\n  name: A b", 3, "is not an account name"),
        ("accounts:\n- provider: scalingo\n  api_url: http://a.example.com", 3, "unencrypted"),
        ("rules:\n- pattern: 'a", 2, "not valid YAML"),
        ("rules:\n\t- a", 2, "not valid YAML"),
        ("a: 1\n--- \nb: 2", 2, "not valid YAML"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_line(text: str, line: int, expected: str) -> None:
    _, problems = parse(text)

    (problem,) = problems
    assert problem.startswith(f"paastis.yml, line {line}: ")
    assert expected in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "text", ["\x00", "[" * 100_000, 'rules: [{pattern: "\\UFFFFFFFF"}]', "#" * 2_000_000]
)
def test_what_yaml_itself_chokes_on_is_one_sentence(text: str) -> None:
    _, problems = parse(text)

    (problem,) = problems
    assert problem.startswith("paastis.yml")


def test_several_mistakes_are_all_told_in_the_order_of_the_file() -> None:
    _, problems = parse("rules:\n- pattern: a\n  x: 1\n- pattern: b\n  y: 1\n")

    assert [problem.split(":")[0] for problem in problems] == [
        "paastis.yml, line 3",
        "paastis.yml, line 5",
    ]


def test_a_file_that_contains_itself_is_no_endless_loop() -> None:
    _, problems = parse("rules: &a [*a]")

    assert len(problems) == 1


WORDS = st.one_of(
    st.sampled_from(["pattern", "wake", "schedule", "awake", "hooks", "provider", "mode", "x"]),
    st.text(max_size=10),
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(),
)
TREES = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["pattern", "wake", "schedule", "awake", "hooks", "hosts", "power", "provider", "y"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(TREES, max_size=3), st.lists(TREES, max_size=3))
def test_any_tree_is_read_or_told_about(rules: list[object], accounts: list[object]) -> None:
    text = json.dumps({"rules": rules, "accounts": accounts})  # JSON is YAML, near enough

    content, problems = parse(text)

    assert len(content.rules) + len(content.accounts) + len(problems) >= bool(rules or accounts)


@settings(deadline=None)
@given(
    st.one_of(
        st.text(),
        st.text("rulespatn:-[]{}&*!|>%@'\"\\ \n\t#,?0", max_size=60),
        st.text("-: \n[]{}'a*&!", max_size=30).map(lambda text: "rules:\n- pattern: a\n" + text),
    )
)
def test_any_text_is_read_or_told_about(text: str) -> None:
    parse(text)
