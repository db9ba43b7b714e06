"""Which app a host leads to."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.app import Phase
from paastis.hosts import BadHost, Lost, lost_claims, parse_host
from paastis.policy import Policy
from proxy.routes import Routes
from tests.proxy.world import BORN, an_app


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("my-app.example.com", "my-app.example.com"),
        ("My-App.Example.COM:8080", "my-app.example.com"),
        ("my-app.example.com.", "my-app.example.com"),
        ("my-app.example.com.:80", "my-app.example.com"),
        ("my-app.example.com:", "my-app.example.com"),
        ("under_score.example.com", "under_score.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("[2001:DB8::1]:3000", "[2001:db8::1]"),
        ("[::1]", "[::1]"),
        ("127.0.0.1:3000", "127.0.0.1"),
    ],
)
def test_host_is_brought_into_its_normal_form(given: str, host: str) -> None:
    assert parse_host(given) == host


@pytest.mark.parametrize(
    "given",
    ["", ".", "a..b", "-a.b", "a-.b", "a b", "a/b", "a@b", "a:x", "a:99999", "a:1:2", "é.com",
     "[::1", "::1", "[::1]x", "[zz]", "a,b", "a\tb", "x" * 64 + ".com", "a." * 130 + "com"],
)  # fmt: skip
def test_what_is_no_host_is_refused(given: str) -> None:
    with pytest.raises(BadHost):
        parse_host(given)


@given(st.text(max_size=60))
def test_any_text_is_a_normal_host_or_refused(text: str) -> None:
    try:
        host = parse_host(text)
    except BadHost:
        return
    assert parse_host(host) == host


def routes(*apps: object, bases: tuple[str, ...] = ()) -> Routes:
    made = Routes(bases)
    for app in apps:
        made.put(app)  # type: ignore[arg-type]
    return made


def test_name_and_display_name_lead_to_the_app_below_any_domain() -> None:
    found = routes(an_app("one", policy=Policy(display_name="Uno")))
    assert found.find("one.example.com") == "one"
    assert found.find("uno.localhost") == "one"
    assert found.find("two.example.com") is None
    assert found.find("one") is None


def test_configured_base_domains_are_the_only_ones() -> None:
    found = routes(an_app("one"), bases=("Proxy.Example.com",))
    assert found.find("one.proxy.example.com") == "one"
    assert found.find("one.example.com") is None
    assert found.find("x.one.proxy.example.com") is None


def test_addresses_are_nobodys() -> None:
    found = routes(an_app("127"), an_app("one"))
    assert found.find("127.0.0.1") is None
    assert found.find("[::1]") is None


def test_extra_host_comes_before_a_label() -> None:
    extra = an_app("extra", policy=Policy(hosts=("one.example.com", "Bücher.example")))
    found = routes(an_app("one"), extra)
    assert found.find("one.example.com") == "extra"
    assert found.find("one.example.org") == "one"
    assert found.find("xn--bcher-kva.example") == "extra"


def test_older_app_keeps_a_host_and_the_other_is_told() -> None:
    old = an_app("old", app_name="shop")
    young = an_app("young", app_name="shop", created_at=BORN + timedelta(days=1))
    for order in ((old, young), (young, old)):
        found = routes(*order)
        assert found.find("shop.localhost") == "old"
        assert lost_claims(order) == {"young": (Lost("shop", "old"),)}


def test_name_decides_between_apps_of_the_same_age() -> None:
    found = routes(an_app("b", app_name="shop"), an_app("a", app_name="shop"))
    assert found.find("shop.localhost") == "a"


def test_newer_app_takes_the_route_over_at_once_when_the_older_is_gone() -> None:
    old = an_app("old", app_name="shop")
    young = an_app("young", app_name="shop", created_at=BORN + timedelta(days=1))
    found = routes(old, young)
    gone = an_app("old", app_name="shop", phase=Phase.GONE)
    found.put(gone)
    assert found.find("shop.localhost") == "young"
    assert lost_claims([gone, young]) == {}


def test_renamed_and_removed_apps_leave_nothing_behind() -> None:
    found = routes(an_app("one"))
    found.put(an_app("one", app_name="other"))
    assert found.find("one.localhost") is None
    found.remove("one")
    assert found.find("other.localhost") is None
    assert len(found) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sampled_from(["x", "y", "z"]),
            st.integers(0, 3),
            st.booleans(),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_routes_built_step_by_step_equal_routes_built_at_once(
    steps: list[tuple[str, str, int, bool, bool]],
) -> None:
    walked = Routes()
    last: dict[str, object] = {}
    for name, label, age, gone, removed in steps:
        if removed:
            walked.remove(name)
            last.pop(name, None)
            continue
        app = an_app(
            name,
            app_name=label,
            created_at=BORN + timedelta(days=age),
            phase=Phase.GONE if gone else Phase.AWAKE,
            policy=Policy(hosts=(f"{label}.example",)),
        )
        walked.put(app)
        last[name] = app
    built = routes(*last.values())
    for host in ("x.localhost", "y.localhost", "z.localhost", "x.example", "z.example"):
        assert walked.find(host) == built.find(host)
