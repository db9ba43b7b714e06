"""Patterns: what is compiled, and what is refused before it can take for ever."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paastis.pattern import MOST_OPEN_REPEATS_ON_VISITS, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (r"app-review-pr(\d+)-(back|front)", "app-review-pr12-back"),
        (r".*fastify.*", "hello-fastify-2"),
        (r"(?<team>[a-z]+)-(?P<kind>api|web)", "red-api"),
        (r"app(-[a-z0-9]+)*", "app-one-2-three"),
        (r"(?:[a-z]{1,3})?x", "abcx"),
        (r"(ab){3}", "ababab"),
        (r"(a)(?<!b)\1", "aa"),
        (r"[(?<a]+", "(?<a"),
        (r"\(\?<a", "(?<a"),
        (r"(?i:APP)", "app"),
        (r"a++b", "aab"),
        (r"([a-z]+-){2}x", "a-b-x"),
    ],
)
def test_ordinary_patterns_are_compiled(pattern: str, name: str) -> None:
    assert compile_pattern(pattern).fullmatch(name)


def test_named_groups_may_be_written_as_in_javascript() -> None:
    match = compile_pattern("(?<team>.+)-x").fullmatch("red-x")

    assert match is not None
    assert match["team"] == "red"


@pytest.mark.parametrize("pattern", ["", "a(", "[", "*a", "(?<1>a)", "a" * 201, "(?P<a>b)(?<a>c)"])
def test_what_is_no_regular_expression_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"regular expression|at most 200"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        "(a*)*b",
        "(a|a)*b",
        "(a|aa)+b",
        "((a+))+b",
        "(?:a{1,9}){2,}b",
        "(.*)*x",
        "(-[a-z-]+)*x",
        "(.a+)*x",
        ".*.*.*.*.*.*x",
        "a?" * 20 + "a" * 20,
        "((a?b?)+c)+",
        "(a|a){30}b",
    ],
)
def test_patterns_that_could_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="for ever"):
        compile_pattern(pattern)


def test_patterns_on_what_visitors_send_are_held_shorter() -> None:
    with pytest.raises(ValueError, match="open repeats"):
        compile_pattern("/a.*b.*c.*d.*", most_open_repeats=MOST_OPEN_REPEATS_ON_VISITS)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("ab-.()|*+?{},[]\\^$<>=!:P1", max_size=12)))
def test_any_text_is_compiled_or_refused_and_matches_quickly(text: str) -> None:
    try:
        pattern = compile_pattern(text)
    except ValueError:
        return
    began = time.process_time()
    for name in ("a" * 32 + "!", "ab-" * 11, "-a" * 16 + "b"):
        pattern.fullmatch(name)
    assert time.process_time() - began < 2


@given(st.text("ab-.()|*+?[]\\", max_size=10))
def test_a_pattern_that_is_accepted_means_what_it_means_in_python(text: str) -> None:
    try:
        pattern = compile_pattern(text)
    except ValueError:
        return

    assert pattern == re.compile(text)
