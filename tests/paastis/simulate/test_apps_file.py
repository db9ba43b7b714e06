from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paastis.simulate.app import FOREVER, ProcessSpec
from paastis.simulate.apps_file import AppsError, parse_app, parse_apps_text, read_apps
from paastis.simulate.spec import AppSpec, AutoscalerSpec

if TYPE_CHECKING:
    from pathlib import Path


def test_file_says_everything_about_an_app() -> None:
    text = """
apps:
  - name: my-app
    region: osc-secnum-fr1
    boot_time: 3s
    stop_time: 80ms
    boot_failures: always
    formation: {web: {amount: 2, size: M}, worker: {amount: 1, size: S}, clock: {amount: 0, size: S}}
    autoscalers: [{type: web, min: 2, max: 4}]
    domains: [WWW.example.com]
    parent: my
  - {name: other, deployed: false}
  - {name: third, status: stopped, formation: {web: 1}}
"""
    assert parse_apps_text(text, source="apps.yml") == (
        AppSpec(
            name="my-app",
            region="osc-secnum-fr1",
            boot_time=timedelta(seconds=3),
            stop_time=timedelta(milliseconds=80),
            boot_failures=FOREVER,
            formation={
                "web": ProcessSpec(2, "M"),
                "worker": ProcessSpec(1, "S"),
                "clock": ProcessSpec(0, "S"),
            },
            autoscalers=(AutoscalerSpec(),),
            domains=("www.example.com",),
            parent="my",
        ),
        AppSpec(name="other", status="new"),
        AppSpec(name="third", status="stopped"),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("apps:\n- name: a\n  regoin: x\n", "apps.yml, line 3: unknown key 'regoin' in an app"),
        ("apps:\n- name: A\n", "apps.yml, line 2: name is 'A'"),
        ("apps:\n- formation: {web: 1}\n", "apps.yml, line 2: name is None"),
        ("apps:\n- name: a\n  boot_time: soon\n", "apps.yml, line 3: boot_time: 'soon' is not"),
        ("apps:\n- name: a\n  formation:\n    web: 11\n", "apps.yml, line 4: amount is 11"),
        (
            "apps:\n- name: a\n  formation:\n    web:\n      size: Q\n",
            "apps.yml, line 5: size is 'Q'",
        ),
        ("apps:\n- name: a\n  formation: {}\n", "apps.yml, line 3: formation is {}"),
        ("apps:\n- name: a\n  status: asleep\n", "apps.yml, line 3: status is 'asleep'"),
        ("apps:\n- name: a\n  autoscalers: [{type: x}]\n", "apps.yml, line 3: no process type 'x'"),
        ("apps:\n- name: a\n  autoscalers: [{min: 1}]\n", "apps.yml, line 3: min and max"),
        ("apps:\n- name: a\n- name: a\n", "apps.yml, line 3: a second app a in region osc-fr1"),
        ("ups: []\n", "apps.yml, line 1: unknown key 'ups'"),
        ("apps: 3\n", "apps.yml, line 1: expected `apps:`"),
        ("", "apps.yml: the file is None"),
        ("apps: [\n", "apps.yml, line 2: "),
        ("apps: !!python/object:x {}\n", "apps.yml, line 1: could not determine a constructor"),
    ],
)
def test_mistake_is_named_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(AppsError) as caught:
        parse_apps_text(text, source="apps.yml")
    assert caught.value.problems[0].startswith(sentence)


def test_two_mistakes_are_told_at_once() -> None:
    with pytest.raises(AppsError) as caught:
        parse_apps_text("apps:\n- name: A\n- name: b\n  colour: red\n", source="apps.yml")
    assert len(caught.value.problems) == 2


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AppsError, match=r"none\.yml: can't be read: No such file"):
        read_apps(tmp_path / "none.yml")
    (tmp_path / "latin.yml").write_bytes(b"\xff")
    with pytest.raises(AppsError, match=r"latin\.yml: is not UTF-8"):
        read_apps(tmp_path / "latin.yml")


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "formation", "web", "amount", "boot_time", "autoscalers"]),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_anything_is_read_or_refused(data: object) -> None:
    with suppress(AppsError):
        assert parse_app(data).name


@settings(deadline=None)
@given(st.text(alphabet="aps: -\n[]{}'\"&*!%\t1", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(AppsError):
        assert isinstance(parse_apps_text(text, source="apps.yml"), tuple)
