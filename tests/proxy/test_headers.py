"""What happens to headers on their way."""

from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import headers
from proxy.headers import Arrival

HERE = Arrival(peer="192.0.2.7", scheme="https", host="my-app.example.com", trusted=False)
TRUSTED = Arrival(peer="10.0.0.1", scheme="http", host="my-app.example.com", trusted=True)


def sent(
    incoming: list[tuple[str, str]], arrival: Arrival = HERE, origin: str | None = None
) -> dict[str, str]:
    pairs = headers.request_headers(
        incoming,
        arrival=arrival,
        app_host="app.io",
        request_id="fresh",
        via_name="paastis",
        origin=lambda given: origin,
    )
    return dict(pairs)


def test_headers_of_the_hop_end_here_and_so_do_those_that_connection_names() -> None:
    kept = headers.end_to_end(
        [
            ("Connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("TE", "trailers"),
            ("Keep-Alive", "5"),
            ("Proxy-Authorization", "secret"),
            ("Upgrade", "h2c"),
            ("Accept", "a"),
            ("accept", "b"),
        ]
    )
    assert kept == [("Accept", "a"), ("accept", "b")]


def test_what_strangers_say_about_themselves_is_replaced() -> None:
    found = sent(
        [
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "evil"),
            ("X-Request-Id", "theirs"),
            ("Forwarded", "for=1.1.1.1"),
            ("X-Real-IP", "1.1.1.1"),
        ]
    )
    assert found == {
        "Host": "app.io",
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "my-app.example.com",
        "X-Request-Id": "fresh",
        "Via": "1.1 paastis",
    }


def test_what_trusted_proxies_say_is_believed() -> None:
    found = sent(
        [
            ("X-Forwarded-For", "192.0.2.9"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "www.example.com"),
            ("X-Request-Id", "abc-1"),
            ("Via", "1.1 front"),
        ],
        TRUSTED,
    )
    assert found["X-Forwarded-For"] == "192.0.2.9, 10.0.0.1"
    assert found["X-Forwarded-Proto"] == "https"
    assert found["X-Forwarded-Host"] == "www.example.com"
    assert found["X-Request-Id"] == "abc-1"
    assert found["Via"] == "1.1 front, 1.1 paastis"


def test_harmful_request_id_is_not_believed() -> None:
    assert sent([("X-Request-Id", "a b\x1b[0m")], TRUSTED)["X-Request-Id"] == "fresh"


def test_origin_is_mapped_where_it_is_ours() -> None:
    assert sent([("Origin", "https://x")], origin="https://app.io")["Origin"] == "https://app.io"
    assert sent([("Origin", "https://x")], origin=None)["Origin"] == "https://x"


@pytest.mark.parametrize(
    ("via", "ours"),
    [
        ("1.1 paastis", True),
        ("1.0 a, 1.1 paastis (comment)", True),
        ("1.1 paastis2", False),
        ("1.1 a", False),
        ("", False),
    ],
)
def test_own_name_in_via_is_recognised(via: str, ours: bool) -> None:
    assert headers.came_round([("via", via)], "paastis") is ours


@pytest.mark.parametrize(
    ("peer", "chain", "address"),
    [
        ("192.0.2.1", "6.6.6.6", "192.0.2.1"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_visitor_is_the_last_one_whom_no_trusted_proxy_vouches_for(
    peer: str, chain: str, address: str
) -> None:
    found = headers.visitor_address(peer, chain, is_trusted=lambda one: one.startswith("10."))
    assert found == address


APP = "https://app.io"


@pytest.mark.parametrize(
    ("location", "rewritten"),
    [
        ("https://app.io/a?b#c", "/a?b#c"),
        ("https://APP.io:443/a", "/a"),
        ("https://app.io", "/"),
        ("https://app.io?x", "/?x"),
        ("https://app.io//evil.example/x", "/.//evil.example/x"),
        ("http://app.io/a", "http://app.io/a"),
        ("https://app.io:8443/a", "https://app.io:8443/a"),
        ("https://app.io.evil.example/", "https://app.io.evil.example/"),
        ("https://user@app.io/a", "https://user@app.io/a"),
        ("//app.io/a", "//app.io/a"),
        ("/a", "/a"),
        ("https://[bad", "https://[bad"),
    ],
)
def test_location_on_the_apps_exact_origin_becomes_a_path(location: str, rewritten: str) -> None:
    assert headers.path_only(location, APP) == rewritten


@given(st.text(alphabet="/.?#\\ab:@", max_size=12))
def test_rewritten_location_stays_on_the_visitors_host(rest: str) -> None:
    rewritten = headers.path_only(f"https://app.io{rest}", APP)
    if not rewritten.startswith("https://"):
        landed = urljoin("https://my-app.example.com/x", rewritten.replace("\\", "/"))
        assert landed.startswith("https://my-app.example.com")


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        ("a=1; Domain=app.io; Secure", "a=1; Secure"),
        ("a=1; domain=.APP.io", "a=1"),
        ("a=1; Domain=io", "a=1; Domain=io"),
        ("a=1; Path=/", "a=1; Path=/"),
        ("domain=app.io; Path=/", "domain=app.io; Path=/"),
    ],
)
def test_cookie_loses_only_a_domain_that_names_the_app(cookie: str, kept: str) -> None:
    assert headers.cookie_without_domain(cookie, "app.io") == kept


def test_nothing_is_rewritten_where_the_policy_says_no() -> None:
    answer = [("Location", "https://app.io/a"), ("Set-Cookie", "a=1; Domain=app.io")]
    assert (
        headers.answer_headers(
            answer, app_origin=APP, rewrite=False, origin_seen=None, origin_sent=None
        )
        == answer
    )
