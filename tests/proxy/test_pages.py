"""Our own answers, as values."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.app import Phase
from paastis.policy import Policy, Wake
from paastis.reasons import Reason
from proxy import pages
from tests.proxy.world import BORN, an_app

ELSEWHERE = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "http://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "/\t/evil.example",
    "/\n/evil.example",
    "/a b",
    "/é",
    "evil",
    "",
    "/a#b",
    " /a",
]


@pytest.mark.parametrize("to", ELSEWHERE)
def test_address_that_could_lead_elsewhere_is_refused(to: str) -> None:
    assert pages.safe_target(to) is None


@pytest.mark.parametrize("to", ["/", "/a/b?c=d&e=//x", "/%2f%2fevil", "/a?u=http://x/", "/.//x"])
def test_path_on_the_same_host_is_kept_as_it_is(to: str) -> None:
    assert pages.safe_target(to) == to


def test_waiting_never_leads_back_into_waiting() -> None:
    assert pages.safe_target("/.well-known/paastis/wait?to=/x") == "/"


@given(st.text(alphabet="/\\:.?#@ \t\r\nahtpsevil%25é", max_size=20))
def test_safe_target_always_stays_on_its_host(to: str) -> None:
    safe = pages.safe_target(to)
    if safe is not None:
        landed = urlsplit(urljoin("http://my-app.localhost/x/y", safe))
        assert (landed.scheme, landed.netloc) == ("http", "my-app.localhost")


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_wait_link_carries_its_target_unchanged(path: str) -> None:
    to = pages.safe_target("/" + path)
    if to is not None:
        link = urlsplit(pages.wait_link(to))
        assert parse_qs(link.query)["to"] == [to]


def test_names_are_escaped_in_every_page() -> None:
    nasty = '<script>alert("x")</script>{{to}}'
    app = an_app(policy=Policy(display_name=nasty), phase=Phase.ASLEEP)
    for page in (
        pages.waiting_page(app, to='/"><script>', since=0),
        pages.list_page([app], address=lambda app: nasty, now=BORN),
        pages.refusal(503, Reason.WAKING, browser=True, text=nasty, again='/"><script>'),
    ):
        html = page.body.decode()
        assert "<script>alert" not in html
        assert '"><script>' not in html


def test_pages_load_nothing_from_anywhere() -> None:
    app = an_app(phase=Phase.ASLEEP)
    for page in (
        pages.waiting_page(app, to="/", since=0),
        pages.list_page([app], address=lambda app: None, now=BORN),
        pages.refusal(404, Reason.UNKNOWN_HOST, browser=True),
    ):
        html = page.body.decode()
        assert not re.search(r"(src|@import|url\()", html)
        assert "{{" not in html
        assert dict(page.headers)["Cache-Control"] == "no-store"
        assert "default-src 'none'" in dict(page.headers)["Content-Security-Policy"]
        assert len(page.body) < 16_000
        assert '<html lang="en">' in html
        assert "<title>" in html


def test_waiting_page_tells_the_usual_time_and_works_without_scripts() -> None:
    app = an_app(phase=Phase.STARTING, usual_boot=timedelta(seconds=11.2))
    page = pages.waiting_page(app, to="/a?b=c&d", since=3)
    html = page.body.decode()

    assert page.status == 503
    assert "Usually ready within 12 s" in html
    assert 'content="1;url=/.well-known/paastis/wait?to=/a%3Fb%3Dc%26d"' in html
    assert 'data-to="/a?b=c&amp;d"' in html
    assert "aria-live" in html
    assert "prefers-reduced-motion" in html


def test_page_status_is_the_policys() -> None:
    app = an_app(policy=Policy(wake=Wake(page_status=202)))
    assert pages.waiting_page(app, to="/", since=0).status == 202


def test_programs_get_a_problem_with_our_reason() -> None:
    answer = pages.refusal(503, Reason.START_FAILED, browser=False, retry_after=7)
    problem = json.loads(answer.body)
    headers = dict(answer.headers)

    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Retry-After"] == "7"
    assert (problem["status"], problem["reason"]) == (503, "StartFailed")
    assert problem["detail"].endswith(".")


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_can_be_told(reason: Reason) -> None:
    assert pages.sentence(reason).endswith(".")


def test_list_leaves_out_what_is_gone_and_tells_when_it_was_used() -> None:
    apps = [
        an_app("a", last_access_time=BORN),
        an_app("b", phase=Phase.GONE),
        replace(an_app("c"), phase=Phase.ASLEEP),
    ]
    html = pages.list_page(
        apps, address=lambda app: f"http://{app.name}.localhost/", now=BORN + timedelta(minutes=3)
    ).body.decode()

    assert "2 apps; 1 asleep" in html
    assert "3 min ago" in html
    assert ">b<" not in html
