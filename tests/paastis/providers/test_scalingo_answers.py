from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.app import Observation, Process
from paastis.errors import Busy, NotFound, ProviderError, Rejected
from paastis.providers import scalingo_answers as answers
from paastis.providers.http import Answer
from paastis.providers.port import Progress

NOW = datetime(2030, 1, 1, tzinfo=UTC)
APP: dict[str, object] = {"id": "5ed0fe5d884fef000f5e4fd1", "name": "demo-app", "status": "running"}

keys = st.sampled_from(
    [
        "app",
        "apps",
        "id",
        "name",
        "status",
        "url",
        "base_url",
        "containers",
        "type",
        "state",
        "amount",
        "size",
        "operation",
        "regions",
        "api",
        "autoscalers",
        "container_type",
        "deployments",
        "events",
        "type_data",
        "previous_containers",
        "created_at",
        "user",
        "username",
        "token",
        "time",
        "value",
        "meta",
        "pagination",
        "next_page",
        "default",
        "disabled",
        "error",
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=25,
)


def test_all_that_is_read_of_a_listed_app_is_among_the_members_that_are_kept() -> None:
    class Noting(dict[str, object]):
        asked: ClassVar[set[str]] = set()

        def get(self, key: str, default: object = None) -> object:
            self.asked.add(key)
            return super().get(key, default)

    app = Noting(id="1", name="a", status="running", base_url="https://a.example")
    read, problems = answers.apps(Noting(apps=[app]))
    assert [one.name for one in read] == ["a"]
    assert not problems
    assert Noting.asked == answers.APPS_MEMBERS


@given(json_values)
def test_any_json_is_read_or_called_malformed(data: object) -> None:
    for read in (
        answers.apps,
        answers.app,
        answers.formation,
        answers.processes,
        answers.deploying,
        answers.autoscalers,
        answers.operation,
        answers.regions,
        answers.account_holder,
        answers.bearer,
        answers.before_last_zero,
        answers.next_page,
        lambda given: answers.latest_traffic(given, NOW),
    ):
        with suppress(answers.Malformed):
            read(data)


@given(st.integers(300, 499), json_values)
def test_any_refusal_is_an_error_of_ours(status: int, data: object) -> None:
    found = answers.refusal(Answer(status, {}, data, "", NOW), "words")
    assert isinstance(found, ProviderError)
    assert str(found) == "words"


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (400, {"error": "no change in containers formation"}, answers.NoChange),
        (400, {"error": "something else"}, Rejected),
        (402, {"error": "pay first", "url": "https://example.com"}, Rejected),
        (403, {"error": "no", "code": "x"}, Rejected),
        (404, {"resource": "app", "error": "not found"}, answers.AppGone),
        (404, {"resource": "container_type", "error": "not found"}, answers.TypeGone),
        (404, {"resource": "operation", "error": "not found"}, NotFound),
        (404, {"error": "no metrics found"}, NotFound),
        (404, None, Rejected),
        (409, {"error": "conflict"}, Busy),
        (422, {"errors": {"app": ["is booting"]}}, Busy),
        (422, {"errors": {"app": ["is something never heard of"]}}, Busy),
        (422, {"errors": {"container-web-amount": ["can't scale over 10"]}}, Rejected),
        (302, None, Rejected),
    ],
)
def test_refusal_means_what_to_do_next(status: int, data: object, kind: type) -> None:
    assert type(answers.refusal(Answer(status, {}, data, "", NOW), "words")) is kind


@pytest.mark.parametrize(
    ("url", "base_url", "expected"),
    [
        (
            "https://www.example.com/",
            "https://a.osc-fr1.scalingo.io",
            "https://a.osc-fr1.scalingo.io",
        ),
        ("https://www.example.com/", None, "https://www.example.com"),
        ("https://www.example.com/", "", "https://www.example.com"),
        ("not a url", "ftp://x", None),
        ("https://[bad", None, None),
        (None, None, None),
    ],
)
def test_platform_made_address_comes_first(
    url: str | None, base_url: str | None, expected: str | None
) -> None:
    assert answers.app({"app": APP | {"url": url, "base_url": base_url}}).url == expected


def test_hosts_are_those_of_both_addresses() -> None:
    data = APP | {"url": "https://WWW.example.com", "base_url": "https://a.scalingo.io:443/"}
    assert answers.app({"app": data}).hosts == ("a.scalingo.io", "www.example.com")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, None),
        ({"last_deployed_at": None, "last_deployment_id": None}, None),
        ({"last_deployed_at": "2030-01-01T00:00:00Z"}, "2030-01-01T00:00:00Z"),
        ({"last_deployed_at": "2030-01-01T00:00:00Z", "last_deployment_id": "d1"}, "d1"),
    ],
)
def test_deployment_is_known_by_its_id_or_its_time(
    more: dict[str, object], expected: str | None
) -> None:
    assert answers.app({"app": APP | more}).deployment == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("new", Observation.STOPPED),
        ("booting", Observation.STARTING),
        ("running", Observation.RUNNING),
        ("stopped", Observation.STOPPED),
        ("crashed", Observation.FAILED),
        ("scaling", Observation.UNKNOWN),
        ("restarting", Observation.UNKNOWN),
        ("never-heard-of", Observation.UNKNOWN),
    ],
)
def test_listing_tells_no_more_than_the_word_says(status: str, expected: Observation) -> None:
    assert answers.listed_state(status) is expected


@pytest.mark.parametrize(
    ("status", "amount", "live", "expected"),
    [
        ("running", 1, [("web", "running")], Observation.RUNNING),
        ("running", 2, [("web", "running"), ("web", "booting")], Observation.RUNNING),
        ("scaling", 2, [("web", "running")], Observation.STARTING),
        ("restarting", 2, [("web", "running")], Observation.STARTING),
        ("booting", 1, [("web", "running")], Observation.RUNNING),
        ("scaling", 1, [], Observation.STARTING),
        ("restarting", 1, [("web", "stopping")], Observation.STARTING),
        ("booting", 1, [], Observation.STARTING),
        ("running", 1, [("web", "booting")], Observation.STARTING),
        ("running", 1, [("worker", "running")], Observation.STOPPED),
        ("running", 1, [("one-off", "running")], Observation.STOPPED),
        ("stopped", 1, [], Observation.STOPPED),
        ("crashed", 1, [], Observation.FAILED),
        ("running", 1, [("web", "crashed"), ("worker", "running")], Observation.FAILED),
        ("running", 1, [("web", "stopping")], Observation.STOPPING),
        ("running", 1, [("web", "never-heard-of")], Observation.UNKNOWN),
        ("stopped", 0, [], Observation.STOPPED),
        ("running", 0, [("worker", "running")], Observation.STOPPED),
        ("scaling", 0, [("web", "stopping")], Observation.STOPPING),
        ("scaling", 0, [], Observation.STOPPING),
        ("booting", 0, [], Observation.STOPPED),
        ("booting", 0, [("web", "stopping")], Observation.STOPPING),
        ("crashed", 0, [], Observation.STOPPED),
    ],
)
def test_state_is_computed_from_the_web_containers(
    status: str, amount: int, live: list[tuple[str, str]], expected: Observation
) -> None:
    formation = (Process("web", amount, "M"), Process("worker", 1, "S"))
    assert answers.observed_state(status, formation, live) is expected


@pytest.mark.parametrize(
    ("operation", "expected", "words"),
    [
        ({"status": "pending"}, Progress.RUNNING, ""),
        ({"status": "running"}, Progress.RUNNING, ""),
        ({"status": "never-heard-of"}, Progress.RUNNING, ""),
        ({"status": "done", "error": None}, Progress.DONE, ""),
        ({"status": "error", "error": "quota"}, Progress.FAILED, "quota"),
        ({"status": "error", "message": "quota"}, Progress.FAILED, "quota"),
        ({"status": "error"}, Progress.FAILED, "the provider gives no reason"),
    ],
)
def test_operation_stands_where_its_status_says(
    operation: dict[str, object], expected: Progress, words: str
) -> None:
    followed = answers.operation({"operation": operation})
    assert (followed.progress, followed.message) == (expected, words)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://api.osc-fr1.scalingo.com/v1/apps/a/operations/52fd2457", "52fd2457"),
        ("/v1/apps/a/operations/52fd2457/", "52fd2457"),
        ("https://evil.example.com/operations/52fd2457?x=1", "52fd2457"),
        ("https://api.osc-fr1.scalingo.com/v1/apps/a", None),
        ("https://api/v1/apps/a/operations/../../users/self", None),
        ("", None),
    ],
)
def test_only_the_id_of_an_operations_address_is_used(location: str, expected: str | None) -> None:
    assert answers.operation_id(location) == expected


def bucket(minutes: int, value: object) -> dict[str, object]:
    return {"time": (NOW + timedelta(minutes=minutes)).isoformat(), "value": value}


def test_only_buckets_that_begin_later_count_as_traffic() -> None:
    assert answers.latest_traffic([bucket(-1, 5), bucket(0, 5), bucket(1, None)], NOW) is None
    later = [bucket(0, 1), bucket(1, 3), bucket(2, 1), bucket(3, 0), bucket(4, None)]
    assert answers.latest_traffic(later, NOW) == NOW + timedelta(minutes=2)


def scale(at: int, before: dict[str, object], after: dict[str, object]) -> dict[str, object]:
    return {
        "type": "scale",
        "created_at": (NOW + timedelta(minutes=at)).isoformat(),
        "type_data": {"previous_containers": before, "containers": after},
    }


def test_formation_comes_from_the_newest_scale_to_zero() -> None:
    events = [
        {"type": "restart", "created_at": NOW.isoformat()},
        scale(1, {"web": "1:S"}, {"web": "0:S"}),
        scale(3, {"web": "2:M"}, {"web": "3:M"}),
        scale(2, {"web": "3:2XL", "worker": 1, "clock": "0"}, {"web": 0, "worker": "0:S"}),
    ]
    assert answers.before_last_zero({"events": events}) == (
        Process("web", 3, "2XL"),
        Process("worker", 1, None),
        Process("clock", 0, None),
    )
    assert answers.before_last_zero({"events": events[:1]}) is None
