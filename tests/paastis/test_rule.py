"""Rules: who is matched, who wins, what templates become, and what links add."""

import time
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.config.rules_file import parse_rules_file
from paastis.policy import (
    Mode,
    Policy,
    Power,
    Schedule,
    Settings,
    Wake,
    WakeMode,
    WakeSettings,
    Window,
)
from paastis.rule import (
    Effective,
    Hooks,
    LinkNode,
    Rule,
    access_resolution,
    effective,
    hooks_for,
    linked,
)

MINUTES = timedelta(minutes=1)
SECONDS = timedelta(seconds=1)

README_RULES = r"""
rules:
  - pattern: 'app-review-pr(\d+)-(back|front)'
    linked_apps:
      - 'app-review-pr$1-front'

  - pattern: 'hello-fastify'
    linked_apps:
      - 'hellofastifydeux'

  - pattern: 'hello-fastify-2'
    app_name: 'hellofastifydeux'

  - pattern: '.*fastify.*'
    app_max_idle_time: 0
"""


def rule(
    pattern: str,
    *,
    priority: int = 0,
    accounts: tuple[str, ...] | None = None,
    **said: Any,
) -> Rule:
    return Rule(
        pattern,
        Settings(**said),
        f"rule {pattern!r}",
        priority=priority,
        accounts=accounts,
    )


def resolve(
    app_name: str,
    *rules: Rule,
    defaults: Settings = Settings(),
    account: Settings = Settings(),
    overrides: Settings = Settings(),
) -> Effective:
    return effective(
        app_name,
        "scalingo",
        rules,
        defaults=defaults,
        account_settings=account,
        overrides=overrides,
        mode=Mode.MANAGE,
        resolution_floor=10 * SECONDS,
    )


def readme_rules() -> tuple[Rule, ...]:
    problems: list[str] = []
    content = parse_rules_file(
        README_RULES,
        name="paastis.yml",
        variable=lambda _: None,
        insecure=False,
        problems=problems,
    )
    assert problems == []
    return content.rules


# --- the example of the original's README


def test_readme_example_links_a_review_apps_back_and_front_to_its_front() -> None:
    for app_name in ("app-review-pr12-back", "app-review-pr12-front"):
        assert resolve(app_name, *readme_rules()).policy.linked_apps == ("app-review-pr12-front",)


def test_readme_example_gives_display_names_and_links_by_them() -> None:
    rules = readme_rules()
    first = resolve("hello-fastify", *rules).policy
    second = resolve("hello-fastify-2", *rules).policy

    assert first.linked_apps == ("hellofastifydeux",)
    assert first.display_name is None
    assert second.display_name == "hellofastifydeux"
    assert linked(
        {
            "one": LinkNode("a", "hello-fastify", None, first.linked_apps),
            "two": LinkNode("a", "hello-fastify-2", second.display_name, second.linked_apps),
        }
    ) == {"one": {"two"}, "two": set()}


def test_readme_example_gives_everything_fastify_no_idle_time() -> None:
    for app_name in ("hello-fastify", "hello-fastify-2", "my-fastify-app"):
        assert resolve(app_name, *readme_rules()).policy.max_idle_time == timedelta(0)
    assert resolve("other", *readme_rules()).policy.max_idle_time == 15 * MINUTES


# --- matching and winning


def test_app_without_rules_has_the_defaults() -> None:
    result = resolve("app")

    assert result.matched == ()
    assert result.policy.max_idle_time == 15 * MINUTES
    assert result.policy.sources["max_idle_time"] == "default"
    assert result.policy.wake == Wake()


def test_pattern_matches_the_whole_name() -> None:
    only = rule("app", power=Power.ALWAYS_ON)

    assert resolve("app", only).policy.power is Power.ALWAYS_ON
    for other in ("app-2", "my-app", "app\n"):
        assert resolve(other, only).policy.power is Power.AUTO


def test_later_rule_wins_field_by_field() -> None:
    result = resolve(
        "app",
        rule("app", max_idle_time=1 * MINUTES, power=Power.ALWAYS_ON),
        rule("a.*", max_idle_time=2 * MINUTES),
    )

    assert result.policy.max_idle_time == 2 * MINUTES
    assert result.policy.power is Power.ALWAYS_ON
    assert result.policy.sources["max_idle_time"] == "rule 'a.*'"
    assert result.policy.sources["power"] == "rule 'app'"


def test_higher_priority_wins_over_a_later_rule() -> None:
    result = resolve(
        "app",
        rule("app", priority=5, max_idle_time=1 * MINUTES),
        rule("a.*", max_idle_time=2 * MINUTES),
    )

    assert result.policy.max_idle_time == 1 * MINUTES
    assert [found.pattern for found in result.matched] == ["a.*", "app"]


def test_rule_for_other_accounts_does_not_apply() -> None:
    assert resolve("app", rule("app", accounts=("other",), rewrite=False)).policy.rewrite
    assert not resolve("app", rule("app", accounts=("scalingo",), rewrite=False)).policy.rewrite


def test_override_beats_rules_rules_beat_account_account_beats_default() -> None:
    default, account, own, override = (Settings(max_idle_time=n * MINUTES) for n in (1, 2, 3, 4))
    shaping = Rule("app", own, "rule 'app'")

    def found(*rules: Rule, **layers: Settings) -> tuple[timedelta, str]:
        policy = resolve("app", *rules, **layers).policy
        return policy.max_idle_time, policy.sources["max_idle_time"]

    assert found(defaults=default) == (1 * MINUTES, "START_AND_STOP_MAX_IDLE_TIME")
    assert found(defaults=default, account=account) == (2 * MINUTES, "account 'scalingo'")
    assert found(shaping, defaults=default, account=account) == (3 * MINUTES, "rule 'app'")
    assert found(shaping, defaults=default, account=account, overrides=override) == (
        4 * MINUTES,
        "override",
    )


def test_wake_is_merged_field_by_field() -> None:
    result = resolve(
        "app",
        rule("app", wake=WakeSettings(mode=WakeMode.HOLD, page_status=200)),
        rule("a.*", wake=WakeSettings(timeout=5 * SECONDS)),
        overrides=Settings(wake=WakeSettings(page_status=202)),
    )

    assert result.policy.wake == Wake(mode=WakeMode.HOLD, page_status=202, timeout=5 * SECONDS)
    sources = result.policy.sources
    assert sources["wake.mode"] == "rule 'app'"
    assert sources["wake.timeout"] == "rule 'a.*'"
    assert sources["wake.page_status"] == "override"
    assert sources["wake.by"] == "default"


def test_schedule_is_taken_whole() -> None:
    schedule = Schedule("UTC", awake=(Window("0 8 * * *", "0 9 * * *"),))

    assert resolve("app", rule("app", schedule=schedule)).policy.schedule == schedule


def test_every_field_of_the_policy_tells_its_source() -> None:
    sources = resolve("app").policy.sources

    assert {name.partition(".")[0] for name in sources} == {
        name for name in Policy.__slots__ if name not in {"sources", "access_resolution"}
    }


# --- templates


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("pr$2-front", "pr12-front"),
        ("x${2}0", "x120"),
        ("$2$3", "12back"),
        ("$team.$2.${team}", "red.12.red"),
        ("$0!", "red-pr12-back!"),
        ("$$2", "$2"),
        ("$$$2", "$12"),
        ("cost-$", "cost-$"),
        ("plain", "plain"),
    ],
)
def test_references_are_replaced_wherever_they_occur(template: str, expected: str) -> None:
    pattern = r"(?<team>red|blue)-pr(\d+)-(back|front)"

    result = resolve("red-pr12-back", rule(pattern, linked_apps=(template,)))

    assert result.policy.linked_apps == (expected,)
    assert result.problems == ()


def test_templates_fill_display_name_and_hosts() -> None:
    result = resolve("PR7", rule(r"PR(\d+)", display_name="review-$1", hosts=("PR$1.Example.com",)))

    assert result.policy.display_name == "review-7"
    assert result.policy.hosts == ("pr7.example.com",)


@pytest.mark.parametrize("template", ["x-$3", "x-${3}", "x-$nobody", "x-$99999999999999999999"])
def test_template_with_a_group_that_does_not_exist_is_dropped_and_reported(template: str) -> None:
    result = resolve("app-1", rule(r"app-(\d)", linked_apps=(template, "b-$1")))

    assert result.policy.linked_apps == ("b-1",)
    (problem,) = result.problems
    assert "has no group" in problem
    assert repr(template) in problem
    assert "'app-1'" in problem


def test_template_with_a_group_that_took_no_part_is_dropped_and_reported() -> None:
    result = resolve("app", rule("app(-x)?", linked_apps=("to$1", "other"), display_name="n$1"))

    assert result.policy.linked_apps == ("other",)
    assert result.policy.display_name is None
    assert len(result.problems) == 2
    assert all("took no part" in problem for problem in result.problems)


def test_dropped_display_name_leaves_the_earlier_one() -> None:
    result = resolve("app", rule("app", display_name="kept"), rule("app(x)?", display_name="$1"))

    assert result.policy.display_name == "kept"
    assert result.policy.sources["display_name"] == "rule 'app'"


def test_host_that_is_no_host_name_is_dropped_and_reported() -> None:
    result = resolve("app", rule("(app)", hosts=("$1_!", "$1.example.com")))

    assert result.policy.hosts == ("app.example.com",)
    assert "is not a host name" in result.problems[0]


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)


@given(NAMES, NAMES)
def test_literal_pattern_matches_its_own_name_alone(name: str, other: str) -> None:
    found = resolve(other, rule(name, rewrite=False))

    assert (found.policy.rewrite is False) == (name == other)


@given(
    NAMES, st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.integers(0, 99))), max_size=8)
)
def test_the_last_matching_rule_that_says_something_wins(
    name: str, said: list[tuple[bool, int | None]]
) -> None:
    rules = [
        rule(
            ".*" if matches else "no/such",
            max_idle_time=None if idle is None else idle * MINUTES,
        )
        for matches, idle in said
    ]
    spoken = [idle for matches, idle in said if matches and idle is not None]

    expected = (spoken[-1] if spoken else 15) * MINUTES

    assert resolve(name, *rules).policy.max_idle_time == expected


@given(NAMES, st.text(max_size=30))
def test_any_template_is_filled_in_or_dropped_with_a_report(name: str, template: str) -> None:
    result = resolve(name, rule("(.)(.*)", linked_apps=(template,)))

    if "$" not in template:
        assert result.policy.linked_apps == ((template,) if template else ())
    assert len(result.policy.linked_apps or ()) + len(result.problems) <= 1


# --- hooks and resolution


def test_later_hook_wins_and_an_empty_one_switches_it_off() -> None:
    first = Rule("a", Settings(), "1", hooks=Hooks(before_stop="one", after_stop="one"))
    second = Rule("a", Settings(), "2", hooks=Hooks(before_stop="two", before_start=""))

    assert hooks_for((first, second), Hooks(before_start="d", after_start="d")) == Hooks(
        before_start=None, after_start="d", before_stop="two", after_stop="one"
    )


@pytest.mark.parametrize(
    ("idle_times", "expected"),
    [
        ([15 * MINUTES], 60 * SECONDS),
        ([10 * MINUTES], 60 * SECONDS),
        ([5 * MINUTES], 30 * SECONDS),
        ([15 * MINUTES, 5 * MINUTES], 30 * SECONDS),
        ([100 * SECONDS], 10 * SECONDS),
        ([99 * SECONDS], 10 * SECONDS),
        ([0 * SECONDS], 10 * SECONDS),
        ([], 60 * SECONDS),
    ],
)
def test_access_resolution_is_a_tenth_of_the_smallest_idle_time_within_bounds(
    idle_times: list[timedelta], expected: timedelta
) -> None:
    assert access_resolution(idle_times, 10 * SECONDS) == expected


def test_access_resolution_of_a_policy_is_its_own() -> None:
    assert resolve("app", rule("app", max_idle_time=5 * MINUTES)).policy.access_resolution == (
        30 * SECONDS
    )


# --- links


def node(name: str, *links: str, account: str = "a", display: str | None = None) -> LinkNode:
    return LinkNode(account, name, display, links)


def test_links_reach_through_others_and_circles() -> None:
    assert linked(
        {
            "a": node("a", "b"),
            "b": node("b", "c"),
            "c": node("c", "a"),
            "d": node("d", "a"),
            "e": node("e", "nobody"),
        }
    ) == {"a": {"b", "c"}, "b": {"a", "c"}, "c": {"a", "b"}, "d": {"a", "b", "c"}, "e": set()}


def test_link_to_itself_is_none() -> None:
    assert linked({"a": node("a", "a")}) == {"a": set()}


def test_names_go_before_display_names() -> None:
    apps = {"a": node("a", "x"), "b": node("b", display="x"), "c": node("x")}

    assert linked(apps)["a"] == {"c"}


def test_own_account_goes_before_others() -> None:
    apps = {
        "a": node("a", "x", "y"),
        "x1": node("x", account="other"),
        "x2": node("x"),
        "y1": node("y", account="other"),
    }

    assert linked(apps)["a"] == {"x2", "y1"}


@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=4), max_size=8
    )
)
def test_linked_is_the_transitive_closure_without_oneself(links: dict[str, list[str]]) -> None:
    closure = {name: {link for link in links[name] if link in links} for name in links}
    for _ in links:
        for name in links:
            closure[name] |= {far for near in closure[name] for far in closure[near]}

    result = linked({name: node(name, *targets) for name, targets in links.items()})

    assert result == {name: closure[name] - {name} for name in links}


def test_ten_thousand_apps_that_link_to_the_same_hub_are_quick_and_share_one_set() -> None:
    apps = {f"app-{n}": node(f"app-{n}", "hub") for n in range(10_000)}
    apps["hub"] = node("hub", *(f"backend-{n}" for n in range(1_000)))
    apps |= {f"backend-{n}": node(f"backend-{n}") for n in range(1_000)}

    began = time.process_time()
    result = linked(apps)

    assert time.process_time() - began < 2
    assert len(result["app-9999"]) == 1_001
    assert result["app-0"] is result["app-9999"]
